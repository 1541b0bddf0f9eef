package report

import (
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/HdrHistogram/hdrhistogram-go"

	"portrule.example/lab/compare/bench"
)

// writeSamples writes every latency of one request at a time, those of the warm-up too, as
// compressed CSV.
func writeSamples(w io.Writer, all []bench.Samples) error {
	packed := gzip.NewWriter(w)
	out := csv.NewWriter(packed)
	if err := out.Write([]string{"suite", "case", "impl", "round", "phase", "latency_ns", "axis", "size"}); err != nil {
		return err
	}
	for _, samples := range all {
		for _, impl := range samples.Impls {
			for round, taken := range samples.Impl[impl] {
				phase := "steady"
				if round < samples.WarmUp {
					phase = "warm-up"
				}
				err := out.Write([]string{samples.Suite, samples.Case.Name, impl, strconv.Itoa(round), phase, strconv.FormatInt(int64(taken), 10), string(samples.Axis), sizeOf(samples)})
				if err != nil {
					return err
				}
			}
		}
	}
	out.Flush()
	return errors.Join(out.Error(), packed.Close())
}

// sizeOf is the size of a point of a curve, empty for what is none.
func sizeOf(samples bench.Samples) string {
	if samples.Axis == "" {
		return ""
	}
	return strconv.FormatFloat(samples.Size, 'f', -1, 64)
}

// window is a line of windows.jsonl.gz. The histograms are HdrHistogram's V2 encoding,
// compressed, in base64, as every HdrHistogram library reads it.
type window struct {
	Suite    string             `json:"suite"`
	Case     string             `json:"case"`
	Impl     string             `json:"impl"`
	Load     string             `json:"load"`
	Round    int                `json:"round"`
	Axis     bench.Axis         `json:"axis,omitempty"`
	Size     float64            `json:"size,omitempty"`
	Requests int                `json:"requests"`
	Seconds  float64            `json:"seconds"`
	InFlight float64            `json:"inFlight"`
	Late     int                `json:"late"`
	Dropped  int                `json:"dropped"`
	CPU      map[string]float64 `json:"cpuSeconds,omitempty"`
	Memory   map[string]uint64  `json:"memoryBytes,omitempty"`
	Sent     string             `json:"sent"`
	Intended string             `json:"intended,omitempty"`
}

// writeWindows writes every window as a line of compressed JSON.
func writeWindows(w io.Writer, all []bench.Samples) error {
	packed := gzip.NewWriter(w)
	out := json.NewEncoder(packed)
	for _, samples := range all {
		for _, loop := range samples.Loops() {
			for _, impl := range samples.Impls {
				for round, taken := range samples.Windows[loop][impl] {
					line := window{
						Suite: samples.Suite, Case: samples.Case.Name, Impl: impl, Load: loop.String(), Round: round, Axis: samples.Axis, Size: samples.Size,
						Requests: taken.Requests, Seconds: taken.Elapsed.Seconds(), InFlight: taken.InFlight, Late: taken.Late, Dropped: taken.Dropped,
						CPU: map[string]float64{}, Memory: map[string]uint64{},
					}
					for name, usage := range taken.Usage {
						line.CPU[name], line.Memory[name] = usage.CPU.Seconds(), usage.Memory
					}
					var errSent, errIntended error
					line.Sent, errSent = encodeHistogram(taken.Sent)
					line.Intended, errIntended = encodeHistogram(taken.Intended)
					if err := errors.Join(errSent, errIntended, out.Encode(line)); err != nil {
						return err
					}
				}
			}
		}
	}
	return packed.Close()
}

func encodeHistogram(h *hdrhistogram.Histogram) (string, error) {
	if h == nil {
		return "", nil
	}
	encoded, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return "", fmt.Errorf("encode a histogram: %w", err)
	}
	return string(encoded), nil
}
