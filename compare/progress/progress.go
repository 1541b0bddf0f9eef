// Package progress shows on the standard error what a long command is doing: a
// bar on a terminal, plain lines otherwise.
//
// [Progress.Step] says what begins, [Progress.Update] how far a step with many parts
// has come. Whoever prints anything else where a bar may be calls [Progress.Finish]
// before. Results never come this way: they go to the standard output, so that a pipe has
// them alone.
//
// Packages that work do not import this one. They are given a function, such as say in
// testbed.Start or Progress in contract.Options, and a command fills in a [Progress].
package progress

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// Progress shows one thing at a time.
type Progress struct {
	w        io.Writer
	terminal bool
	bar      *progressbar.ProgressBar
	what     string
	began    time.Time
}

// New returns a Progress that writes to w. It draws bars if w is a terminal.
func New(w io.Writer) *Progress {
	file, ok := w.(*os.File)
	return &Progress{w: w, terminal: ok && term.IsTerminal(int(file.Fd()))}
}

// Step says what begins now.
func (p *Progress) Step(what string) {
	p.Finish()
	fmt.Fprintln(p.w, what)
}

// Update says that done of total parts are done and what is being done. Lines are
// written when what changes, a bar moves each time; both say how long the rest will take.
func (p *Progress) Update(done, total int, what string) {
	total = max(1, total)
	if p.began.IsZero() {
		p.began = time.Now()
	}
	if !p.terminal {
		if what != p.what {
			fmt.Fprintf(p.w, "%3d%%  %s%s\n", 100*done/total, what, left(time.Since(p.began), done, total))
		}
		p.what = what
		return
	}
	if p.bar == nil {
		p.bar = progressbar.NewOptions(total,
			progressbar.OptionSetWriter(p.w),
			progressbar.OptionSetWidth(30),
			progressbar.OptionClearOnFinish(),
			progressbar.OptionSetPredictTime(true),
		)
	}
	if what != p.what {
		p.bar.Describe(fmt.Sprintf("%-20s", what))
		p.what = what
	}
	_ = p.bar.Set(done) // an error is about the terminal, which shows it
}

// Finish removes the bar, so that other output starts on a line of its own.
func (p *Progress) Finish() {
	if p.bar != nil {
		_ = p.bar.Clear()
		p.bar = nil
	}
	p.what, p.began = "", time.Time{}
}

// left says how long the rest takes if it goes on as it has gone, once there is enough to
// tell by.
func left(elapsed time.Duration, done, total int) string {
	if elapsed < 5*time.Second || done == 0 || done >= total {
		return ""
	}
	rest := time.Duration(float64(elapsed) * float64(total-done) / float64(done))
	return fmt.Sprintf("  (about %s left)", max(time.Second, rest.Round(time.Second)))
}
