package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/relay"
)

// authTables are those of the suite auth: what a request costs in round trips and reviews,
// what an operator can do about it, the herd at expiry, and how the cost grows.
func authTables(result *bench.Result) []table {
	var all []table
	for _, t := range []table{authCells(result), authRemedies(result), authRouting(result), authHerds(result), authGrowth(result)} {
		if len(t.rows) > 0 {
			t.suite = bench.Auth.Name
			all = append(all, t)
		}
	}
	return all
}

// cellOf is the cell that a measurement is of.
func cellOf(m bench.Measurement) bench.Cell {
	return bench.Cell{Case: m.Case, Impl: m.Impl, Path: m.Path, Credential: m.Credential, Cache: m.Cache}
}

// authCells has a row for each cell that was measured.
func authCells(result *bench.Result) table {
	t := table{
		title: "auth: what a request costs",
		about: "How often the request crosses each link and comes back while the client waits: the next integer, and in brackets what was measured, with its standard error. " +
			"The reviews are counted by the server itself: TokenReviews, then SubjectAccessReviews. The cache is that of the server's reviews; cold is the first request. " +
			"Each time is a median, and the last column how much longer the request takes than the same one to the CRD.",
		header: []string{"request", "to", "credential", "cache", "reviews: token + access", "server asks back", "to kube-apiserver", "to server", "to webhooks", "to etcd", "median", "more than the CRD"},
	}
	type counts struct {
		links   map[string]bench.Measurement
		reviews map[string]bench.Measurement
		latency bench.Measurement
	}
	var cells []bench.Cell
	values := map[bench.Cell]*counts{}
	for _, m := range result.Measurements {
		if m.Suite != bench.Auth.Name || m.Load != "" {
			continue
		}
		c := cellOf(m)
		if values[c] == nil {
			cells, values[c] = append(cells, c), &counts{links: map[string]bench.Measurement{}, reviews: map[string]bench.Measurement{}}
		}
		switch m.Metric {
		case "round-trips":
			values[c].links[m.Link] = m
		case "latency":
			values[c].latency = m
		default:
			values[c].reviews[m.Metric] = m
		}
	}
	for _, c := range cells {
		v := values[c]
		trips := func(link string) string {
			if m, ok := v.links[link]; ok {
				stderr := ""
				if m.StdErr != nil {
					stderr = fmt.Sprintf(" ±%.2f", *m.StdErr)
				}
				// + 0 makes the 0 of what rounds to -0
				return fmt.Sprintf("%.0f (%.2f%s)", math.Round(m.Median)+0, math.Round(100*m.Median)/100+0, stderr)
			}
			return "-"
		}
		reviews := "-"
		if tokens, ok := v.reviews["tokenreviews"]; ok {
			reviews = fmt.Sprintf("%g + %g", tokens.Median, v.reviews["subjectaccessreviews"].Median)
		}
		latency := "-"
		if v.latency.N > 0 {
			latency = cell(v.latency)
		}
		t.rows = append(t.rows, []string{
			c.Case, target(c), credential(c.Credential), orDash(c.Cache), reviews, trips(relay.Reviews),
			trips(relay.Client), trips(relay.Server), trips(relay.Webhook), trips(relay.Etcd), latency, added(result, c),
		})
	}
	if n := len(result.Citations); n > 0 {
		t.about += fmt.Sprintf(" %d further cells cannot differ from one of these: result.json says which, and why.", n)
	}
	return t
}

// target says who answers a cell, and by which way it is reached.
func target(cell bench.Cell) string {
	if cell.Path == bench.Direct {
		return cell.Impl + ", directly"
	}
	return cell.Impl
}

// credential is how a credential is called in a table.
func credential(name string) string { return strings.ReplaceAll(name, "-", " ") }

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// added is by how much longer a cell takes than the same request to the CRD.
func added(result *bench.Result, cell bench.Cell) string {
	for _, c := range result.Comparisons {
		if c.Suite == bench.Auth.Name && c.To == bench.CRD && c.Difference != nil &&
			cell == (bench.Cell{Case: c.Case, Impl: c.Impl, Path: c.Path, Credential: c.Credential, Cache: c.Cache}) {
			return milliseconds(*c.Difference)
		}
	}
	return "-"
}

func milliseconds(i bench.Interval) string {
	return fmt.Sprintf("%+.2f ms [%+.2f, %+.2f]", i.Value/1e6, i.Low/1e6, i.High/1e6)
}

// authRemedies has a row for each remedy whose two cells were compared.
func authRemedies(result *bench.Result) table {
	t := table{title: "auth: what helps", header: []string{"remedy", "request", "without", "with", "saves", "verdict"}}
	find := func(cell bench.Cell) bench.Measurement {
		at := slices.IndexFunc(result.Measurements, func(m bench.Measurement) bool {
			return m.Suite == bench.Auth.Name && m.Metric == "latency" && m.Load == "" && cellOf(m) == cell
		})
		if at < 0 {
			return bench.Measurement{}
		}
		return result.Measurements[at]
	}
	for _, r := range bench.Remedies {
		at := slices.IndexFunc(result.Comparisons, func(c bench.Comparison) bool {
			return c.Suite == bench.Auth.Name && c.Metric == "latency" && c.Difference != nil &&
				r.With == bench.Cell{Case: c.Case, Impl: c.Impl, Path: c.Path, Credential: c.Credential, Cache: c.Cache} &&
				r.Without == bench.Cell{Case: c.Case, Impl: c.To, Path: c.ToPath, Credential: c.ToCredential, Cache: c.ToCache}
		})
		if at < 0 {
			continue
		}
		c := result.Comparisons[at]
		saved := bench.Interval{Value: -c.Difference.Value, Low: -c.Difference.High, High: -c.Difference.Low}
		t.rows = append(t.rows, []string{r.What, r.With.Case, cell(find(r.Without)), cell(find(r.With)), milliseconds(saved), string(c.Verdict)})
	}
	return t
}

// authRouting has a row for each way to two replicas.
func authRouting(result *bench.Result) table {
	t := table{title: "auth: two replicas of the server", header: []string{"", "median", "requests a second of the first", "of the second"}}
	for _, impl := range []string{bench.Aggregated, bench.Routed} {
		row, name := []string{}, map[string]string{bench.Aggregated: "one address for both", bench.Routed: "with --enable-aggregator-routing"}[impl]
		for _, m := range result.Measurements {
			if m.Suite == bench.Auth.Name && m.Case == "routing" && m.Impl == impl {
				row = append(row, value(m.Median, m.Unit))
			}
		}
		if len(row) > 0 {
			t.rows = append(t.rows, append([]string{name}, row...))
		}
	}
	return t
}

// authHerds has a row for each cell that a herd was sent to.
func authHerds(result *bench.Result) table {
	t := table{title: fmt.Sprintf("auth: reviews that %d clients cause who ask at once when the cache has expired", bench.HerdClients), header: []string{"to", "credential", "access reviews", "token reviews", "herds"}}
	herds := map[bench.Cell]map[string]bench.Measurement{}
	var cells []bench.Cell
	for _, m := range result.Measurements {
		if m.Suite != bench.Auth.Name || m.Case != "herd" {
			continue
		}
		if herds[cellOf(m)] == nil {
			cells, herds[cellOf(m)] = append(cells, cellOf(m)), map[string]bench.Measurement{}
		}
		herds[cellOf(m)][m.Metric] = m
	}
	for _, c := range cells {
		row := []string{target(c), credential(c.Credential)}
		for _, metric := range []string{"subjectaccessreviews", "tokenreviews"} {
			m := herds[c][metric]
			row = append(row, fmt.Sprintf("%g (%g to %g)", m.Median, m.Low, m.High))
		}
		t.rows = append(t.rows, append(row, fmt.Sprint(herds[c]["tokenreviews"].N)))
	}
	return t
}

// authGrowth has a row for each point of growth.
func authGrowth(result *bench.Result) table {
	t := table{title: "auth: reviews as the work grows", header: []string{"requests", "answered", "access reviews", "by the formula", "median", "p99"}}
	points := map[string]map[string]bench.Measurement{}
	var loads []string
	for _, m := range result.Measurements {
		if m.Suite != bench.Auth.Name || m.Case != "growth" {
			continue
		}
		if points[m.Load] == nil {
			loads, points[m.Load] = append(loads, m.Load), map[string]bench.Measurement{}
		}
		points[m.Load][m.Metric] = m
	}
	for _, load := range loads {
		reviews, latency := points[load]["subjectaccessreviews"], points[load]["latency"]
		formula, p99 := "-", "-"
		if reviews.Model != nil {
			formula = fmt.Sprintf("%.1f/s", *reviews.Model)
		}
		for _, q := range latency.Quantiles {
			if q.Q == 0.99 {
				p99 = value(q.Value, latency.Unit)
			}
		}
		t.rows = append(t.rows, []string{
			load, fmt.Sprintf("%.1f/s", points[load]["throughput"].Median), fmt.Sprintf("%.1f/s", reviews.Median), formula, value(latency.Median, latency.Unit), p99,
		})
	}
	return t
}
