package report

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"portrule.example/lab/compare/bench"
)

func TestRead(t *testing.T) {
	dir, want, _ := written(t)
	got, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v\nwritten %+v", got, want)
	}
}

// What a program that came later has added under the same schema changes nothing.
func TestReadFieldsOfLater(t *testing.T) {
	later := edit(t, read(t, filepath.Join("testdata", ResultFile)), func(result map[string]any) {
		result["weather"] = "rain"
		delete(result, "digest")
		encoded, err := json.Marshal(result)
		if err != nil {
			t.Fatal(err)
		}
		if result["digest"], err = digestOfJSON(encoded); err != nil {
			t.Fatal(err)
		}
	})
	if _, err := decode(later); err != nil {
		t.Error(err)
	}
}

// edit changes a file of JSON.
func edit(t testing.TB, data []byte, change func(result map[string]any)) []byte {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var result map[string]any
	if err := decoder.Decode(&result); err != nil {
		t.Fatal(err)
	}
	change(result)
	edited, err := json.MarshalIndent(result, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return edited
}

func environment(result map[string]any) map[string]any { return result["environment"].(map[string]any) }

func measurement(result map[string]any) map[string]any {
	return result["measurements"].([]any)[0].(map[string]any)
}

// bad are files that are refused, and what the error says.
func bad(t testing.TB) map[string]struct {
	data []byte
	want string
} {
	good, err := os.ReadFile(filepath.Join("testdata", ResultFile))
	if err != nil {
		t.Fatal(err)
	}
	foreign := `it is not a result of this program: name the directory of a run, whose result.json has the schema "portrule.example/lab/result/v1"`
	changed := "it was changed after it was written: restore it, or run it again"
	short := "the file ends too early: the run or a copy of it was cut off; copy it anew, or run it again"
	edited := func(change func(result map[string]any)) []byte { return edit(t, good, change) }
	return map[string]struct {
		data []byte
		want string
	}{
		"empty":                    {nil, short},
		"cut off":                  {good[:len(good)/2], short},
		"cut off in a word":        {[]byte(`{"schema": "portrule.example/lab/result/v1", "environment": nul`), short},
		"not JSON":                 {[]byte("goos: linux\n"), foreign},
		"an array":                 {[]byte("[1, 2]"), foreign},
		"null":                     {[]byte("null"), foreign},
		"two in one":               {append(bytes.Clone(good), good...), foreign},
		"of something else":        {[]byte(`{"schema": "example.com/result/v1", "measurements": []}`), foreign},
		"a result of the parity":   {[]byte(`{"schema": "portrule.example/lab/parity/v1", "cases": []}`), foreign},
		"without a schema":         {edited(func(r map[string]any) { delete(r, "schema") }), foreign},
		"a schema that is no text": {edited(func(r map[string]any) { r["schema"] = 1 }), foreign},
		"another version": {
			edited(func(r map[string]any) { r["schema"] = "portrule.example/lab/result/v2" }),
			`its schema is "portrule.example/lab/result/v2", and this program reads "portrule.example/lab/result/v1": use the program that wrote it, or run it again`,
		},
		"a number edited":       {edited(func(r map[string]any) { measurement(r)["median"] = 1 }), changed + " (its digest differs)"},
		"a field added":         {edited(func(r map[string]any) { r["weather"] = "rain" }), changed + " (its digest differs)"},
		"a measurement removed": {edited(func(r map[string]any) { r["measurements"] = r["measurements"].([]any)[1:] }), changed + " (its digest differs)"},
		"a field missing":       {edited(func(r map[string]any) { delete(measurement(r), "n") }), changed + " (at '/measurements/0': missing property 'n')"},
		"without a digest":      {edited(func(r map[string]any) { delete(r, "digest") }), changed + " (at '': missing property 'digest')"},
		"a wrong type":          {edited(func(r map[string]any) { environment(r)["cores"] = "two" }), changed + " (at '/environment/cores': got string, want integer)"},
		"a wrong word":          {edited(func(r map[string]any) { measurement(r)["metric"] = "speed" }), changed + " (at '/measurements/0/metric': value must be one of "},
		"no measurements":       {edited(func(r map[string]any) { r["measurements"] = nil }), changed + " (at '/measurements': got null, want array)"},
		"a wrong time":          {edited(func(r map[string]any) { environment(r)["started"] = "yesterday" }), changed + " (parsing time"},
		"too great a number":    {edited(func(r map[string]any) { environment(r)["memory"] = json.Number("1e9999999") }), changed + " (json: cannot unmarshal number 1e9999999"},
		"too small a number":    {edited(func(r map[string]any) { environment(r)["precision"] = json.Number("1e-9999999") }), changed},
	}
}

func TestReadRefuses(t *testing.T) {
	for name, c := range bad(t) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, ResultFile)
			if err := os.WriteFile(path, c.data, 0o600); err != nil {
				t.Fatal(err)
			}
			refused(t, dir, path+": "+c.want)
			if _, err := Render(dir); err == nil {
				t.Error("a report was made of it")
			}
		})
	}
}

// refused checks the error of reading a directory: a line that begins with want.
func refused(t *testing.T, dir, want string) {
	t.Helper()
	result, err := Read(dir)
	switch {
	case err == nil:
		t.Fatal("it was read")
	case result != nil:
		t.Error("there is a result beside the error")
	case !strings.HasPrefix(err.Error(), want):
		t.Errorf("got:  %v\nwant: %s", err, want)
	case strings.Contains(err.Error(), "\n"):
		t.Errorf("the error has several lines: %v", err)
	}
}

func TestReadRefusesDirectories(t *testing.T) {
	dir := t.TempDir()
	absent := filepath.Join(dir, "absent")
	refused(t, absent, "there is no result.json in "+absent+": name the directory of a run")
	refused(t, dir, "there is no result.json in "+dir+": name the directory of a run")
	file := filepath.Join("testdata", ResultFile)
	refused(t, file, "there is no result.json in "+file+": name the directory of a run")
	if err := os.Mkdir(filepath.Join(dir, ResultFile), 0o700); err != nil {
		t.Fatal(err)
	}
	refused(t, dir, "read the result of a run: ")
}

// The reports can be made anew from the result alone.
func TestRender(t *testing.T) {
	dir, _, _ := written(t)
	text, page := filepath.Join(dir, reportFile), filepath.Join(dir, pageFile)
	want := map[string][]byte{text: read(t, text), page: read(t, page)}
	for path := range want {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Render(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got != text+"\n"+page {
		t.Errorf("the reports are in %s, want %s and %s", got, text, page)
	}
	for path, want := range want {
		if !bytes.Equal(read(t, path), want) {
			t.Errorf("%s is another", path)
		}
	}
}

// Whatever a file holds, reading it ends, with a result that can be shown or an error.
func FuzzRead(f *testing.F) {
	good, err := os.ReadFile(filepath.Join("testdata", ResultFile))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	for _, c := range bad(f) {
		f.Add(c.data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		result, err := decode(data)
		if (result == nil) == (err == nil) {
			t.Fatalf("got the result %v and the error %v", result, err)
		}
		if err != nil {
			if strings.TrimSpace(err.Error()) == "" {
				t.Error("the error is empty")
			}
			return
		}
		var out bytes.Buffer
		document := compose(result, extras{})
		document.markdown(&out)
		if err := document.html(&out); err != nil {
			t.Error(err)
		}
		if err := Table(&out, result); err != nil {
			t.Error(err)
		}
	})
}

// slowed is the run of these tests, in which impl takes so many percent of the time to get.
func slowed(percent map[string]int64) *bench.Result {
	_, samples := run(nil)
	for impl, p := range percent {
		for i, d := range samples[1].Impl[impl] {
			samples[1].Impl[impl][i] = d * time.Duration(p) / 100
		}
	}
	result := &bench.Result{}
	result.Measurements, _, _ = bench.Summarize(samples, "client-certificate", nil)
	return result
}

func TestChanges(t *testing.T) {
	for _, c := range []struct {
		name    string
		percent map[string]int64
	}{
		{"none", nil},
		{"one", map[string]int64{bench.Aggregated: 150}},
		// the machine has become slower, and the aggregated server more than that
		{"floor", map[string]int64{bench.CRD: 150, bench.Aggregated: 300, bench.NameFree: 150, bench.Native: 150}},
	} {
		t.Run(c.name, func(t *testing.T) {
			changes, err := bench.Diff(slowed(nil), slowed(c.percent))
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := Changes(&out, changes); err != nil {
				t.Fatal(err)
			}
			golden(t, "changes-"+c.name+".txt", out.Bytes())
		})
	}
}
