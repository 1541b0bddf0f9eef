package compare

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"portrule.example/lab/api"
	"portrule.example/lab/compare/bench"
)

// How long the suite subresources measures.
const subresourcesTime, quickSubresourcesTime = 30 * time.Second, 5 * time.Second

// runSubresources runs the suite subresources, with a controller for the CRD: the other
// suites have none.
func runSubresources(ctx context.Context, r *suiteRun) (err error) {
	r.say(0, "a controller for the CRD")
	cases := r.suite.Cases
	leave := func(names []string, impl, why string) {
		cases = slices.Clone(cases)
		for i, c := range cases {
			if !slices.Contains(names, c.Name) {
				continue
			}
			r.notRun(c.Name, impl, why)
			cases[i].Impls, cases[i].Pairs = slices.DeleteFunc(slices.Clone(r.suite.Impls), func(name string) bool { return name == impl }), [][2]string{}
		}
	}
	target, err := r.target(ctx)
	if err != nil {
		leave([]string{"probe"}, bench.CRD, err.Error())
		leave([]string{"probe"}, bench.Aggregated, err.Error())
		cases = slices.DeleteFunc(cases, func(c bench.Case) bool { return c.Name == "probe" })
	}
	if !r.ownServers() {
		leave([]string{"rendering-read", "rendering-new", "probe"}, bench.CRD, "the controller of the CRD is a process of this host, for which the cluster must have no implementation of its own")
	} else {
		flags := []string{"--probe-requests"}
		if target.IsValid() {
			flags = append(flags, "--probe-allow-cidr="+netip.PrefixFrom(target.Addr(), target.Addr().BitLen()).String())
		}
		stop, err := r.bed.StartController(ctx, "portrule-controller-subresources", api.CRDGroup, flags...)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	namespaces, err := r.namespaces(ctx, "subresources", "subresources-list")
	if err != nil {
		return err
	}
	user, credential, err := r.bed.User(ctx, "bench-subresources", namespaces...)
	if err != nil {
		return err
	}
	sessions, err := bench.NewSessions(user, namespaces[0], namespaces[1], r.suite.Impls)
	if err != nil {
		return err
	}
	for _, s := range sessions {
		s.Target = target
	}
	if !r.bed.Ephemeral() {
		defer func() { err = errors.Join(err, bench.Clean(context.WithoutCancel(ctx), sessions)) }()
	}
	return r.measure(ctx, bench.Options{Plan: r.plan(subresourcesTime, quickSubresourcesTime), Sessions: sessions, Credential: credential}, cases, 0.1, 1)
}

// target is what both the server and a controller on this host may dial: the testbed's, or
// the kube-apiserver of a cluster whose server is a Pod.
func (r *suiteRun) target(ctx context.Context) (netip.AddrPort, error) {
	if target := r.bed.Target(); target.IsValid() {
		return target, nil
	}
	if !r.bed.Ephemeral() {
		return netip.AddrPort{}, errors.New("what the cluster's own server may dial is not known")
	}
	target, err := r.bed.APIServerEndpoint(ctx)
	if err != nil {
		err = fmt.Errorf("there is nothing that a probe may dial: %w", err)
	}
	return target, err
}
