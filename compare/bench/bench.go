// Package bench measures the same requests against each implementation of
// PortRule.
//
// A [Suite] is a set of cases. A [Case] says how one sample is taken from one
// [Subject]. [Run] takes the samples in rounds: in each round every subject has
// one turn, and the order is reversed from round to round (A B C, C B A, ...), so
// that whatever slows the machine down meets all of them alike. What is compared
// are the samples of the same round. statistics.go has the arithmetic, result.go
// what comes out, verbs.go and peers.go the suites.
package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"portrule.example/lab/compare/cluster"
)

// Suite is a named set of cases.
type Suite struct {
	Name string
	// About is one sentence for the help.
	About string
	// Optional is whether the suite runs only if it is asked for.
	Optional bool
	// Impls are the implementations that take part, in the order of the columns.
	Impls []string
	// Pairs are the comparisons that are made, each of the first to the second. The
	// first pair is the one that the table shows.
	Pairs [][2]string
	Cases []Case
	// Others are cases that are not measured by [Run]: they have a name and a meaning.
	Others []Case
}

// Suites are all that exist.
var Suites = []Suite{Verbs, Peers}

// Case is one thing that is measured.
type Case struct {
	Name string
	// About is one sentence for the report.
	About string
	// Cache is the state of the aggregated server's authorization cache that the
	// case arranges for: warm, cold, or empty if the case does not say.
	Cache string
	// Prepare sets the subject up for rounds samples and returns what takes them.
	// What it starts ends with ctx.
	Prepare func(ctx context.Context, s *Session, rounds int) (Sampler, error)
}

// Sampler takes the i-th sample, counted from 0. The time that it returns covers
// the request alone: from before it is sent until the last byte of the answer.
type Sampler func(ctx context.Context, i int) (time.Duration, error)

// Options say how much is measured, and where.
type Options struct {
	Suites []Suite
	// Rounds is the number of samples of each case and subject.
	Rounds int
	// WarmUp is the number of rounds that precede them and are thrown away.
	WarmUp int
	// Sessions are the subjects, each with a client. A suite uses those of its
	// implementations that are there.
	Sessions []*Session
	// Credential is how the sessions' user is authenticated.
	Credential cluster.Credential
	// Progress is told when a case begins and, with done of total, when a round ends.
	Progress func(done, total int, what string)
}

// Samples are what a case gave, the i-th of each subject from the same round.
type Samples struct {
	Suite string
	Case  Case
	// Impls and Pairs are those of the suite.
	Impls []string
	Pairs [][2]string
	// Impl has the samples by implementation, all of one length.
	Impl map[string][]time.Duration
}

// Run takes the samples. It returns those of complete rounds even if there is an
// error, so that an interrupted run leaves what it has.
func Run(ctx context.Context, o Options) ([]Samples, error) {
	var all []Samples
	total := 0
	for _, suite := range o.Suites {
		total += len(suite.Cases) * (o.WarmUp + o.Rounds)
	}
	done := 0
	for _, suite := range o.Suites {
		for _, c := range suite.Cases {
			what := suite.Name + ": " + c.Name
			o.Progress(done, total, what)
			samples := Samples{Suite: suite.Name, Case: c, Impls: suite.Impls, Pairs: suite.Pairs, Impl: map[string][]time.Duration{}}
			err := runCase(ctx, o, samples, func() { done++; o.Progress(done, total, what) })
			all = append(all, samples)
			if ctx.Err() != nil {
				// the error says how the interruption broke a request
				return all, fmt.Errorf("%s: interrupted: %w", what, ctx.Err())
			}
			if err != nil {
				return all, fmt.Errorf("%s: %w", what, err)
			}
		}
	}
	return all, nil
}

func runCase(ctx context.Context, o Options, samples Samples, roundDone func()) error {
	// ends what Prepare has started
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	rounds := o.WarmUp + o.Rounds
	sessions := slices.DeleteFunc(slices.Clone(o.Sessions), func(s *Session) bool { return !slices.Contains(samples.Impls, s.Subject.Impl) })
	samplers := make([]Sampler, len(sessions))
	for i, session := range sessions {
		var err error
		if samplers[i], err = samples.Case.Prepare(ctx, session, rounds); err != nil {
			return fmt.Errorf("prepare %s: %w", session.Subject.Impl, err)
		}
	}
	turns := make([]int, len(sessions))
	for i := range turns {
		turns[i] = i
	}
	for round := range rounds {
		taken := make([]time.Duration, len(turns))
		for _, i := range turns {
			var err error
			if taken[i], err = samplers[i](ctx, round); err != nil {
				return fmt.Errorf("%s: %w", sessions[i].Subject.Impl, err)
			}
		}
		slices.Reverse(turns)
		if round >= o.WarmUp {
			for i, session := range sessions {
				impl := session.Subject.Impl
				samples.Impl[impl] = append(samples.Impl[impl], taken[i])
			}
		}
		roundDone()
	}
	return nil
}
