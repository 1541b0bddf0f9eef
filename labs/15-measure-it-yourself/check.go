// Package measure checks lab 15: a prediction of how many reviews requests cause, and a
// scenario of the learner's on the engine of the benchmarks.
//
// The predictions are compared with what the server of the lab (serve.go) has counted, by
// requests of the check's own (count.go). The learner's program is run for a moment, and
// judged by which requests it has sent, in which order, and how many of them count: by
// numbers that are the same on every machine, never by how long anything took.
package measure

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"portrule.example/lab/compare/bench"
	"portrule.example/lab/labs/15-measure-it-yourself/harness"
	"portrule.example/lab/labs/lab"
)

// Exercise is lab 15.
var Exercise = lab.Exercise{Check: check, Prepare: prepare, Serve: serve}

const mainFile, answersFile = "main.go", "answers.yaml"

// runTimeout bounds the learner's program.
const runTimeout = 30 * time.Second

// prepare compiles what the learner's program is linked with, so that no check has to.
func prepare(ctx context.Context, s *lab.Session) error {
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", os.DevNull, "./labs/"+s.Lab.Name()+"/"+lab.StartDir)
	build.Dir = s.Root
	build.Env = append(os.Environ(), lab.BuildEnvironment...)
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build what the lab needs: %w:\n%s", err, bytes.TrimSpace(out))
	}
	return nil
}

func check(ctx context.Context, s *lab.Session) (*lab.Finding, error) {
	var given answers
	if finding := s.YAML(answersFile, &given); finding != nil {
		return finding, nil
	}
	if _, err := s.Cluster(); err != nil {
		return nil, err
	}
	c, err := findCounter(s)
	if err != nil {
		return nil, err
	}
	questions, err := newAsked(s, given)
	if err != nil {
		return nil, err
	}
	// the linker takes the longest: count meanwhile, and be done before the program runs
	counted := make(chan error, 1)
	go func() { counted <- c.ask(ctx, questions) }()
	program, finding, err := s.Build(ctx, mainFile)
	if err := <-counted; err != nil {
		return nil, err
	}
	if finding != nil || err != nil {
		return finding, err
	}
	report, finding, err := runProgram(ctx, s, program)
	if finding != nil || err != nil {
		return finding, err
	}
	if report.Reviews > len(distinct(namesOf(report, bench.Aggregated))) {
		// the machine may have been so busy that answers have expired
		if report, finding, err = runProgram(ctx, s, program); finding != nil || err != nil {
			return finding, err
		}
	}
	if finding, err := judge(s, report); finding != nil || err != nil {
		return finding, err
	}
	return c.compare(ctx, s, questions, given)
}

// runProgram runs the learner's program and returns what it reports.
func runProgram(ctx context.Context, s *lab.Session, program string) (*harness.Report, *lab.Finding, error) {
	ended := func(said string) (*harness.Report, *lab.Finding, error) {
		return nil, &lab.Finding{ID: "program-ends", Where: s.Where(mainFile), Found: said, Expected: "a report, by harness.Main"}, nil
	}
	within, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(within, program, "--state", s.State, "--json")
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	switch {
	case ctx.Err() != nil:
		return nil, nil, ctx.Err()
	case within.Err() != nil:
		return ended(fmt.Sprintf("it does not end within %s", runTimeout))
	case err != nil:
		return ended(lastWords(stderr.String(), err))
	}
	report := &harness.Report{}
	if err := json.Unmarshal(stdout.Bytes(), report); err != nil {
		return ended("no report: " + err.Error())
	}
	return report, nil, nil
}

// lastWords is the line in which a program says why it ends, without a stack.
func lastWords(stderr string, err error) string {
	said := err.Error()
	for line := range strings.Lines(stderr) {
		if strings.HasPrefix(line, "error: ") || strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			said = strings.TrimSpace(line)
		}
	}
	return said
}

// judge finds out whether what was measured is what the task says.
func judge(s *lab.Session, report *harness.Report) (*lab.Finding, error) {
	objects, err := strconv.Atoi(s.Constant("objects"))
	if err != nil {
		return nil, err
	}
	pairs, err := strconv.Atoi(s.Constant("pairs"))
	if err != nil {
		return nil, err
	}
	where := s.Where(mainFile)
	found := func(id, found, expected string) (*lab.Finding, error) {
		return &lab.Finding{ID: id, Where: where, Found: found, Expected: expected}, nil
	}
	sent := map[string][]string{}
	for _, impl := range []string{bench.CRD, bench.Aggregated} {
		sent[impl] = namesOf(report, impl)
		if len(sent[impl]) == 0 {
			return found("one-implementation", "no request to "+impl, "requests to both, "+bench.CRD+" and "+bench.Aggregated)
		}
	}
	for i := 0; i+1 < len(report.Requests); i += 2 {
		if report.Requests[i].Impl == report.Requests[i+1].Impl {
			return found("unpaired", fmt.Sprintf("of round %d both requests go to %s", i/2, report.Requests[i].Impl), "one request to each in every round")
		}
	}
	s.Verified("in each of %d rounds both implementations have one request", len(report.Requests)/2)
	for _, impl := range []string{bench.CRD, bench.Aggregated} {
		names := distinct(sent[impl])
		if len(names) != objects {
			return found("other-objects", fmt.Sprintf("%d requests to %s for %d objects", len(sent[impl]), impl, len(names)), fmt.Sprintf("%d objects in turn", objects))
		}
	}
	at := slices.IndexFunc(report.Comparisons, func(c bench.Comparison) bool { return c.Impl == bench.Aggregated && c.To == bench.CRD })
	if at < 0 {
		return found("no-comparison", fmt.Sprintf("%d comparisons, none of them of %s to %s", len(report.Comparisons), bench.Aggregated, bench.CRD), "that one")
	}
	c := report.Comparisons[at]
	rounds := len(sent[bench.Aggregated])
	first := max(0, min(rounds, rounds-c.N))
	cold := distinct(sent[bench.Aggregated])
	for _, name := range sent[bench.Aggregated][:first] {
		delete(cold, name)
	}
	switch {
	case len(cold) > 0:
		return found("no-warm-up", fmt.Sprintf("of %d rounds %d count, and the first reads of %d objects are among them, for which the server has asked", rounds, c.N, len(cold)),
			"that the rounds count in which every answer is in the cache")
	case c.Low <= 0 || c.Low >= c.Ratio || c.Ratio >= c.High:
		return found("no-interval", fmt.Sprintf("the ratio %.2f, from %.2f to %.2f", c.Ratio, c.Low, c.High), "an interval around it")
	case c.N < pairs:
		return found("too-few", fmt.Sprintf("%d pairs", c.N), fmt.Sprintf("%d at least", pairs))
	case report.Reviews != objects:
		return found("other-reviews", fmt.Sprintf("the server has sent %d SubjectAccessReviews", report.Reviews), fmt.Sprintf("%d, one for each object", objects))
	}
	s.Verified("the warm-up is discarded, and all of the %d reviews with it", report.Reviews)
	s.Verified("the ratio is the median of pairs, and has an interval")
	return nil, nil
}

// namesOf are the names of the objects that requests to an implementation were for.
func namesOf(report *harness.Report, impl string) []string {
	var names []string
	for _, request := range report.Requests {
		if request.Impl == impl {
			names = append(names, request.Name)
		}
	}
	return names
}

func distinct(names []string) map[string]bool {
	all := map[string]bool{}
	for _, name := range names {
		all[name] = true
	}
	return all
}
