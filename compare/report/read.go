package report

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"portrule.example/lab/compare/bench"
)

//go:embed result.schema.json
var resultSchema []byte

// Read reads the result of a run from its directory. A file that cannot be trusted is
// refused, and the error says what is wrong with it and what to do.
func Read(dir string) (*bench.Result, error) {
	path := filepath.Join(dir, ResultFile)
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return nil, fmt.Errorf("there is no %s in %s: name the directory of a run, as \"make bench OUT=dir\" leaves it", ResultFile, dir)
	case err != nil:
		return nil, fmt.Errorf("read the result of a run: %w; name a directory whose %s you may read", err, ResultFile)
	}
	result, err := decode(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return result, nil
}

// The errors of a file that is no result of any program, and of one that was.
var (
	errForeign = fmt.Errorf("it is not a result of this program: name the directory of a run, whose %s has the schema %q", ResultFile, bench.Schema)
	errChanged = errors.New("it was changed after it was written: restore it, or run it again")
)

func decode(data []byte) (*bench.Result, error) {
	var head struct {
		Schema any `json:"schema"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) && syntax.Offset >= int64(len(data)) {
			return nil, errors.New("the file ends too early: the run or a copy of it was cut off; copy it anew, or run it again")
		}
		return nil, errForeign
	}
	project, _, _ := strings.Cut(bench.Schema, "/result/")
	name, _ := head.Schema.(string)
	switch {
	case !strings.HasPrefix(name, project+"/result/"):
		return nil, errForeign
	case name != bench.Schema:
		return nil, fmt.Errorf("its schema is %q, and this program reads %q: use the program that wrote it, or run it again", name, bench.Schema)
	}
	if err := validate(data); err != nil {
		return nil, fmt.Errorf("%w (%w)", errChanged, err)
	}
	var result bench.Result
	if err := json.Unmarshal(data, &result); err != nil {
		return nil, fmt.Errorf("%w (%w)", errChanged, err)
	}
	got, err := digestOfJSON(data)
	if err != nil {
		return nil, err
	}
	if result.Digest != got {
		return nil, fmt.Errorf("%w (its digest differs)", errChanged)
	}
	return &result, nil
}

// schema is that of a result.
var schema = sync.OnceValues(func() (*jsonschema.Schema, error) {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(resultSchema))
	if err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource(bench.Schema, document); err != nil {
		return nil, err
	}
	return compiler.Compile(bench.Schema)
})

// validate returns the first thing in which data does not follow the schema.
func validate(data []byte) error {
	schema, err := schema()
	if err != nil {
		return err
	}
	// float64 and not json.Number, whose exponents may be beyond what the schema can compare
	var instance any
	if err := json.Unmarshal(data, &instance); err != nil {
		return err
	}
	err = schema.Validate(instance)
	var invalid *jsonschema.ValidationError
	if errors.As(err, &invalid) {
		for len(invalid.Causes) > 0 {
			invalid = invalid.Causes[0]
		}
		return invalid
	}
	return err
}

// digestOf is that of a result, its own left out.
func digestOf(result *bench.Result) (string, error) {
	encoded, err := json.Marshal(result)
	if err != nil {
		return "", err
	}
	return digestOfJSON(encoded)
}

// digestOfJSON is that of a result, its own left out. White space and the order of fields
// do not count; fields that this program does not know do.
func digestOfJSON(data []byte) (string, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var fields map[string]any
	if err := decoder.Decode(&fields); err != nil {
		return "", err
	}
	delete(fields, "digest")
	encoded, err := json.Marshal(fields)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(encoded)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// Changes writes what has changed between two runs for a terminal: a row for each value
// that has, and how many have moved with the floor. It sorts changes.
func Changes(w io.Writer, changes []bench.Change) error {
	bench.SortChanges(changes)
	rows, moved := [][]string{{"case", "impl", "what", "before", "after", "change", "in relation to the floor", "verdict"}}, 0
	for _, c := range changes {
		if c.FloorMoved {
			moved++
		}
		if !c.Verdict.Found() {
			continue
		}
		what := c.Row.Metric
		if what == "latency" {
			what = fmt.Sprintf("p%g", 100*c.Quantile)
		}
		for _, more := range []string{c.Row.Load, c.Row.Link} {
			if more != "" {
				what += ", " + more
			}
		}
		if c.Row.Clock != "" {
			what += ", since " + since[c.Row.Clock]
		}
		floor := "-"
		if c.ToFloor != nil {
			floor = times(*c.ToFloor)
		}
		rows = append(rows, []string{
			c.Row.Suite + "/" + c.Row.Case, c.Row.Impl, what, value(c.Before, c.Row.Unit), value(c.After, c.Row.Unit),
			times(bench.Interval{Value: c.Ratio, Low: c.Low, High: c.High}), floor, string(c.Verdict),
		})
	}
	changed := len(rows) - 1
	if changed > 0 {
		if err := writeTabs(w, rows); err != nil {
			return err
		}
	}
	text := fmt.Sprintf("%d of %d values have changed", changed, len(changes))
	if moved > 0 {
		text += fmt.Sprintf("; %d others have moved, but are those of the native resource or have moved as it has: the machine is not as it was", moved)
	}
	_, err := fmt.Fprintln(w, text)
	return err
}
