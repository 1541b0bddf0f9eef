package labs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"portrule.example/lab/labs/lab"
)

// The stages of a lab.
const (
	stageNew     = ""
	stageStarted = "started"
	stagePassed  = "passed"
)

// memory is what the program remembers of the learner's progress.
type memory struct {
	path string
	// Labs has an entry for each lab that was started, by the name of its folder.
	Labs map[string]*record `json:"labs"`
}

// record is what is remembered of one lab.
type record struct {
	Started time.Time `json:"started,omitzero"`
	Passed  time.Time `json:"passed,omitzero"`
	// Finding is what the last hint was about, Hints how many were given about it.
	Finding string `json:"finding,omitempty"`
	Hints   int    `json:"hints,omitempty"`
}

// remember reads what is remembered. What cannot be read is forgotten: it is worth less
// than the lab that it would stop.
func (r *runner) remember() *memory {
	m := &memory{path: r.state("progress.json")}
	if data, err := os.ReadFile(m.path); err != nil || json.Unmarshal(data, m) != nil || m.Labs == nil {
		m.Labs = map[string]*record{}
	}
	return m
}

// of returns the record of a lab, to be changed and saved.
func (m *memory) of(l *lab.Lab) *record {
	if m.Labs[l.Name()] == nil {
		m.Labs[l.Name()] = &record{}
	}
	return m.Labs[l.Name()]
}

// stage is how far the learner is.
func (m *memory) stage(l *lab.Lab) string {
	switch known := m.Labs[l.Name()]; {
	case known == nil || known.Started.IsZero():
		return stageNew
	case known.Passed.IsZero():
		return stageStarted
	default:
		return stagePassed
	}
}

// save writes it down, whole or not at all.
func (m *memory) save() error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(m.path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(m.path+".new", append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(m.path+".new", m.path)
}
