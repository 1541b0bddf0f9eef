package report

import (
	"cmp"
	"fmt"
	"slices"

	"portrule.example/lab/compare/bench"
)

// detailParts are the tables that few readers need: tails, single processes, loops.
func detailParts(result *bench.Result) []part {
	fold := func(title, about string, header []string, rows [][]string) part {
		return part{table: table{title: title, about: about, header: header, rows: rows}, Folded: true}
	}
	header, rows := tails(result)
	parts := []part{fold("Tails", "Latency in ms, with the 95% interval of each quantile. A quantile is left out if there are too few samples for its interval. "+
		"In an open loop a request that could not be sent in time has waited since it was due.", header, rows)}
	header, rows = costs(result, "cpu", "ms/1000")
	parts = append(parts, fold("CPU time of each process", "In ms for a thousand requests. What a process uses when nothing is asked of it is taken off; `client` is the harness.", header, rows))
	header, rows = costs(result, "cpu", "ms")
	parts = append(parts, fold("CPU time of each process, of a whole case", "In ms, from the beginning of the case to its end.", header, rows))
	header, rows = costs(result, "memory", "B")
	parts = append(parts, fold("Memory of each process", "Resident, while the requests of the case came.", header, rows))
	header, rows = flows(result)
	return append(parts, fold("The loops", "Whether the harness kept up. By Little's law the mean number of requests under way is throughput times mean latency: "+
		"if that is not what was counted, the harness took time of its own. "+
		"Late requests of an open loop were sent more than 1 ms after they were due, dropped ones not at all.", header, rows))
}

// tails are the quantiles of every latency that has some beyond the median.
func tails(result *bench.Result) (header []string, rows [][]string) {
	columns := []float64{0.9, 0.99, 0.999}
	for _, m := range result.Measurements {
		if m.Metric != "latency" || len(m.Quantiles) == 0 {
			continue
		}
		load := cmp.Or(m.Load, "one at a time")
		if m.Clock != "" {
			load += ", since it was " + since[m.Clock]
		}
		name := m.Suite + "/" + m.Case
		if m.Axis != "" {
			name += ", " + count(m.Size) + " " + string(m.Axis)
		}
		ms := func(value, low, high float64) string {
			return fmt.Sprintf("%.2f [%.2f, %.2f]", value/1e6, low/1e6, high/1e6)
		}
		row := []string{name, m.Impl, load, fmt.Sprint(m.N), ms(m.Median, m.Low, m.High)}
		for _, q := range columns {
			text := "-"
			for _, quantile := range m.Quantiles {
				if quantile.Q == q {
					text = ms(quantile.Value, quantile.Low, quantile.High)
				}
			}
			row = append(row, text)
		}
		rows = append(rows, row)
	}
	return []string{"case", "impl", "load", "n", "p50", "p90", "p99", "p99.9"}, rows
}

// costRow is what the costs of the processes of one implementation have in common.
type costRow struct{ suite, name, load, impl string }

// cost is what each process used of a metric, by implementation.
type cost struct {
	rows      []costRow
	processes []string
	values    map[costRow]map[string]bench.Measurement
}

// costsOf finds what single processes used, points of curves left out.
func costsOf(result *bench.Result, metric, unit string) cost {
	c := cost{values: map[costRow]map[string]bench.Measurement{}}
	for _, m := range result.Measurements {
		if m.Metric != metric || m.Unit != unit || m.Process == "" || m.Axis != "" {
			continue
		}
		key := costRow{m.Suite, m.Case, m.Load, m.Impl}
		if c.values[key] == nil {
			c.rows, c.values[key] = append(c.rows, key), map[string]bench.Measurement{}
		}
		c.values[key][m.Process] = m
		if m.Process != bench.AllProcesses {
			c.processes = appendNew(c.processes, m.Process)
		}
	}
	slices.Sort(c.processes)
	return c
}

// costs are what each process used, as a table.
func costs(result *bench.Result, metric, unit string) (header []string, rows [][]string) {
	c := costsOf(result, metric, unit)
	if len(c.processes) == 0 {
		return nil, nil
	}
	for _, key := range c.rows {
		name := key.suite + "/" + key.name
		if key.load != "" {
			name += ", " + key.load
		}
		cells := []string{name, key.impl}
		for _, process := range c.processes {
			text := "-"
			if m, ok := c.values[key][process]; ok {
				text = value(m.Median, m.Unit)
			}
			cells = append(cells, text)
		}
		rows = append(rows, cells)
	}
	return append([]string{"case", "impl"}, c.processes...), rows
}

// flows are how the requests of the loops went.
func flows(result *bench.Result) (header []string, rows [][]string) {
	for _, m := range result.Measurements {
		if f := m.Flow; f != nil {
			rows = append(rows, []string{
				m.Suite + "/" + m.Case + ", " + m.Load, m.Impl, fmt.Sprint(f.Requests), fmt.Sprintf("%.1f s", f.Seconds),
				fmt.Sprintf("%.2f", f.InFlight), fmt.Sprintf("%.2f", f.Little), fmt.Sprint(f.Late), fmt.Sprint(f.Dropped),
			})
		}
	}
	return []string{"case", "impl", "requests", "time", "under way", "by Little's law", "late", "dropped"}, rows
}
