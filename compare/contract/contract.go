// Package contract judges both implementations of PortRule by one table of cases: what
// is asked of each, what each must answer, and why where the answers differ.
//
// A [Case] asks something of a [Side], with raw requests, and says in words what came
// of it. Its [Want] says what must come of it: the same on both sides ([Both]), or a
// difference with its reason ([Differ], [OnlyCRD], [OnlyAggregated]). Whatever else
// comes of it is [Unexpected], and so is a difference that has gone away.
//
// [Cases] is the table, in the files cases_*.go. [Run] puts every case to both sides,
// in a namespace of its own, and [NewMatrix] makes a [Matrix] of the rows, which is
// what parity.json holds. [Guides] name the page and the lab that explain an area.
//
// Read contract.go first, then cases_write.go beside side.go, which has the means that
// cases are written with. run.go runs them, matrix.go writes. duplicates.go counts how
// often an endpoint is taken twice: a figure, since a race comes out differently each
// time, and so no case.
package contract

import (
	"slices"
	"strings"
)

// Case is one question, put to each implementation in a namespace of its own.
type Case struct {
	// ID is area/name.
	ID string
	// Ask is what is asked, in a sentence without a full stop.
	Ask string
	// Do asks one side and says what came of it: short words that are the same in each
	// run, for which [Side] has the means. An error of the transport is kept by the Side.
	Do func(s *Side) string
	// Want is what must come of it.
	Want Want
	// Rows are the rows of published comparisons that the case is an instance of, of
	// [KubernetesRows] and [ArticleRows].
	Rows []string
	// Needs is what a control plane must have for the case; nil means any will do.
	Needs []Need
	// Kubectl is how a reader asks the same; it may name the resource as portrules.GROUP.
	// Empty means that kubectl cannot.
	Kubectl string
	// Alone is whether the case disturbs others, so that none may run beside it.
	Alone bool
}

// Area is the first part of the ID.
func (c Case) Area() string { area, _, _ := strings.Cut(c.ID, "/"); return area }

// Want is what must come of a case on each side.
type Want struct {
	CRD, Aggregated string
	// Only is the side that alone can do it, empty if both or neither can.
	Only string
	// Why is the reason for the difference; it is required if there is one.
	Why string
}

// Both is what must come of a case on either side.
func Both(outcome string) Want { return Want{CRD: outcome, Aggregated: outcome} }

// Differ is what must come of a case where the sides differ, and why they do.
func Differ(crd, aggregated, why string) Want {
	return Want{CRD: crd, Aggregated: aggregated, Why: why}
}

// OnlyAggregated is for what the CRD cannot do, with what it answers instead.
func OnlyAggregated(crd, aggregated, why string) Want {
	return Want{CRD: crd, Aggregated: aggregated, Only: Aggregated, Why: why}
}

// OnlyCRD is for what the aggregated server cannot do, with what it answers instead.
func OnlyCRD(crd, aggregated, why string) Want {
	return Want{CRD: crd, Aggregated: aggregated, Only: CRD, Why: why}
}

// The sides.
const (
	CRD        = "crd"
	Aggregated = "aggregated"
	// SameGroup is the CRD again, under the group of the aggregated server.
	SameGroup = "crd, same group"
)

// Need is something that not every control plane has. Its text says what lacks it.
type Need string

// What cases may need.
const (
	// ControllerManager collects garbage, ends namespaces and counts quota.
	ControllerManager Need = "a controller manager"
	// AuditLog is the kube-apiserver's, which a run turns on where it starts one.
	AuditLog Need = "an audit log that the harness can read"
	// OlderEtcd has revisions that the caches of neither side begin with. A server on an
	// etcd of its own begins with the first.
	OlderEtcd Need = "an etcd that is older than both implementations"
)

// HostHas is what a control plane of processes of this host has, one that was started with
// an audit log.
var HostHas = []Need{AuditLog, OlderEtcd}

// Verdict is what a case comes to.
type Verdict string

// The verdicts.
const (
	Same           Verdict = "same"
	Differs        Verdict = "differs as documented"
	CRDOnly        Verdict = "only crd"
	AggregatedOnly Verdict = "only aggregated"
	NotRun         Verdict = "not run"
	Unexpected     Verdict = "UNEXPECTED"
)

// judge says what a case comes to, given what came of it on each side.
func (w Want) judge(crd, aggregated string) Verdict {
	switch {
	case crd != w.CRD || aggregated != w.Aggregated:
		return Unexpected
	case w.Only == CRD:
		return CRDOnly
	case w.Only == Aggregated:
		return AggregatedOnly
	case w.CRD != w.Aggregated:
		return Differs
	default:
		return Same
	}
}

// Cases is the table, in the order of the areas.
func Cases() []Case {
	return slices.Concat(writeCases, changeCases, concurrentCases, readCases, clusterCases)
}

// KubernetesRows are the rows of the tables by which the Kubernetes documentation compares
// CRDs and aggregated APIs, "Advanced features and flexibility" and "Common features" of
// its page about custom resources.
var KubernetesRows = []string{
	"Validation", "Defaulting", "Multi-versioning", "Custom Storage", "Custom Business Logic",
	"Scale Subresource", "Status Subresource", "Other Subresources", "strategic-merge-patch",
	"Protocol Buffers", "OpenAPI Schema", "Instance Name",

	"CRUD", "Watch", "Discovery", "json-patch", "merge-patch", "HTTPS", "Built-in Authentication",
	"Built-in Authorization", "Finalizers", "Admission Webhooks", "UI/CLI Display",
	"Unset versus Empty", "Client Libraries Generation", "Labels and annotations",
}

// ArticleRows are the rows of the comparison in "Extending your Kubernetes API with the
// aggregation API" (2022), from which this lab grew.
var ArticleRows = []string{
	"article: authentication", "article: authorization", "article: admission control", "article: validating",
	"article: conversion", "article: subresource", "article: OpenAPI schema",
}
