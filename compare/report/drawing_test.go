package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

// A drawing that stands alone is XML with its caption, its legend and its style.
func TestDrawing(t *testing.T) {
	drawing, err := Drawing(full(), "scale", "growth", "list: latency by objects")
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for decoder := xml.NewDecoder(bytes.NewReader(drawing)); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("it is no XML: %v\n%s", err, drawing)
		}
		if data, ok := token.(xml.CharData); ok {
			text = append(text, string(data))
		}
	}
	for _, want := range []string{"list: latency by objects", "crd", "aggregated", "objects", "prefers-color-scheme: dark"} {
		if !strings.Contains(strings.Join(text, "\n"), want) {
			t.Errorf("it lacks %q:\n%s", want, drawing)
		}
	}
	for want, ask := range map[string][2]string{
		`there is no drawing of "pie"`:       {"pie", "list"},
		`there are "`:                        {"growth", "list"},
		`no drawing "list: latency by time"`: {"growth", "list: latency by time"},
	} {
		if _, err := Drawing(full(), "scale", ask[0], ask[1]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got the error %v, want one that says %q", ask, err, want)
		}
	}
}
