package report

import (
	"fmt"
	"slices"
	"strings"

	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/contract"
)

// The names of suites, cases and implementations that the sentences are about.
const (
	validation, openapi = "validation", "openapi"
	listCase, heapCase  = "list", "heap"
	crdV1, aggregatedV1 = "crd+v1", "aggregated+v1"
	unique              = "aggregated+unique-endpoints"
)

// webhooks is about what webhooks add to a write that they let pass.
func (s summary) webhooks() string {
	c, ok := s.compared(validation, "accepted", "latency", "", bench.Webhooks, bench.CRD)
	if !ok {
		// the suite auth compares cells
		at := slices.IndexFunc(s.Comparisons, func(c bench.Comparison) bool {
			return c.Suite == bench.Auth.Name && c.Case == "create" && c.Impl == bench.Webhooks && c.To == bench.CRD && c.Metric == "latency"
		})
		if at < 0 {
			return ""
		}
		c = s.Comparisons[at]
	}
	if !c.Verdict.Found() {
		return "Creating through a CRD with webhooks or without: " + ratio(c, "") + "."
	}
	text := "Creating through a CRD with webhooks takes " + ratio(c, "as long") + " as without"
	if d := c.Difference; d != nil {
		text += fmt.Sprintf(", the median difference being %s [%s, %s]", signed(d.Value), signed(d.Low), signed(d.High))
	}
	return text + ": the webhook that keeps endpoints unique asks for a consistent list, which waits for the watch cache where others write."
}

// refusals is about a write that is refused, by the server's own code or by a webhook.
func (s summary) refusals() string {
	for _, r := range []struct{ name, impl, to, by string }{
		{"forbidden-port", bench.Aggregated, bench.Webhooks, "by a webhook of the CRD"},
		{"taken-endpoint", unique, bench.Webhooks, "by a webhook of the CRD"},
		{"wrong-port", bench.Aggregated, bench.CRD, "by the CRD's schema"},
	} {
		if c, ok := s.compared(validation, r.name, "latency", "", r.impl, r.to); ok {
			return s.versus("Having a write refused ("+r.name+")", c, "by the aggregated server itself", r.by) + "."
		}
	}
	return ""
}

// conversions is about requests of a version that is not the one that is stored.
func (s summary) conversions() string {
	var parts []string
	for _, p := range []struct{ impl, to, of string }{{crdV1, bench.CRD, byCRD}, {aggregatedV1, bench.Aggregated, fromServer}} {
		if c, ok := s.compared(validation, "convert-create", "latency", "", p.impl, p.to); ok {
			parts = append(parts, p.of+" "+ratio(c, "as long"))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "Creating in v1, which has to be converted, in relation to v2, which is stored: " + strings.Join(parts, "; ") + "."
}

// growth is about how a list grows, and what that says of ten times as many objects.
func (s summary) growth() string {
	var parts, further []string
	from, to, size := 0.0, 0.0, 0.0
	for _, f := range s.Fits {
		if f.Case != listCase || f.Metric != "latency" || f.Axis != bench.Objects || base(f.Impl) != bench.CRD && base(f.Impl) != bench.Aggregated {
			continue
		}
		from, to = f.From, f.To
		switch f.Growth {
		case bench.Constant:
			parts = append(parts, fmt.Sprintf("no growth was found of %s (%s)", f.Impl, brief(f.Fixed, f.Unit)))
		case bench.Linear:
			parts = append(parts, fmt.Sprintf("%s takes %s more for each object (linear, R² %.3f)", f.Impl, brief(f.PerUnit, f.Unit), f.R2))
		default:
			parts = append(parts, fmt.Sprintf("%s grows %s, with the power %s (R² %.3f)", f.Impl, f.Growth, digits(f.Exponent), f.R2))
		}
		if f.Breaks != nil {
			parts[len(parts)-1] += fmt.Sprintf(" and leaves its curve at %s", count(*f.Breaks))
		}
		if p := f.Projection; p != nil && (size == 0 || size == p.Size) {
			size = p.Size
			further = append(further, fmt.Sprintf("%s %s (%s)", brief(p.Value, f.Unit), interval(p.Low, p.High, f.Unit), f.Impl))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	text := fmt.Sprintf("A list, measured from %s to %s objects: %s", count(from), count(to), strings.Join(parts, "; "))
	if len(further) > 0 {
		text += fmt.Sprintf("; if nothing new happens on the way, which nobody has measured, %s objects would take %s", count(size), strings.Join(further, ", "))
	}
	return text + "."
}

// heap is about how much memory an object takes.
func (s summary) heap() string {
	var parts []string
	for _, f := range s.Fits {
		if f.Case == heapCase && f.Metric == "memory" && f.Axis == bench.Objects && f.Growth == bench.Linear && f.PerUnit > 0 {
			part := fmt.Sprintf("%s of %s (R² %.3f)", brief(f.PerUnit, f.Unit), owner(f), f.R2)
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "Memory for each further object: " + strings.Join(parts, "; ") + "."
}

// owner names whose memory a fit is about.
func owner(f bench.Fit) string {
	if f.Process == "" {
		return f.Impl
	}
	return fmt.Sprintf("the %s (%s)", f.Process, f.Impl)
}

// explain is about how long a new API takes until users are told of it.
func (s summary) explain() string {
	for _, place := range []struct{ name, what string }{
		{"create-explain", "Until kubectl explain shows a new API"},
		{"create-openapi-v3", "Until the OpenAPI v3 document of a new API is there"},
		{"create-discovery", "Until discovery shows a new API"},
	} {
		var parts []string
		for _, side := range []struct{ impl, made string }{{bench.CRD, "after its CRD was made"}, {bench.Aggregated, "after its APIServices were made"}} {
			for _, m := range s.Measurements {
				if m.Suite == openapi && m.Case == place.name && m.Metric == "latency" && m.Axis == "" && base(m.Impl) == side.impl {
					parts = append(parts, fmt.Sprintf("%s %s %s", brief(m.Median, m.Unit), interval(m.Low, m.High, m.Unit), side.made))
				}
			}
		}
		if len(parts) == 0 {
			continue
		}
		text := place.what + ": " + strings.Join(parts, ", ")
		if c, ok := s.compared(openapi, place.name, "latency", "", bench.Aggregated, bench.CRD); ok {
			text += "; " + ratio(c, "as long")
		}
		return text + "."
	}
	return ""
}

// agreement is about the parity matrix.
func (s summary) agreement() string {
	if s.parity == nil || len(s.parity.Cases) == 0 {
		return ""
	}
	var parts []string
	for _, v := range []struct {
		verdict contract.Verdict
		what    string
	}{
		{contract.Unexpected, "otherwise than expected"}, {contract.Differs, "different, as documented"}, {contract.AggregatedOnly, "only with the aggregated server"},
		{contract.CRDOnly, "only with the CRD"}, {contract.NotRun, "not run"},
	} {
		if n := s.parity.Count(v.verdict); n > 0 {
			parts = append(parts, fmt.Sprintf("%s: %d", v.what, n))
		}
	}
	text := fmt.Sprintf("Of %d cases of the contract, put to both in a run of their own, %d came out the same on both sides", len(s.parity.Cases), s.parity.Count(contract.Same))
	if len(parts) > 0 {
		text += "; " + strings.Join(parts, ", ")
	}
	return text + "."
}

// duplicates is about how often several creates at once were let have one endpoint.
func (s summary) duplicates() string {
	if s.parity == nil || len(s.parity.Duplicates) == 0 {
		return ""
	}
	var parts []string
	for _, d := range s.parity.Duplicates {
		parts = append(parts, fmt.Sprintf("with %s in %d of %d attempts (%.1f%% [%.1f, %.1f])", d.Impl, d.Admitted, d.Attempts, 100*d.Share, 100*d.Low, 100*d.High))
	}
	return fmt.Sprintf("When %d clients create a rule of one endpoint at once, more than one is admitted %s.", s.parity.Duplicates[0].Clients, strings.Join(parts, "; "))
}

// peers is about the server beside the best-known one.
func (s summary) peers() string {
	c, ok := s.compared(bench.Peers.Name, "get", "latency", "", bench.Aggregated, bench.Sample)
	if !ok {
		return ""
	}
	return s.versus("Reading the same object again", c, fromServer, "from sample-apiserver") + "."
}
