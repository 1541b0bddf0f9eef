package report

import (
	"fmt"
	"slices"
	"strings"

	"portrule.example/lab/compare/bench"
	"portrule.example/lab/compare/process"
)

// The measures of a drawing of bars, in pixels.
const (
	barTop, barLabel, barHeight, barGap, barFoot = 4, 15, 16, 11, 24
	barRoom                                      = 74 // for the sum, right of the bars
)

// processesKnown have the same colours as in a waterfall.
var processesKnown = []string{"kube-apiserver", "portrule-apiserver", "portrule-controller", process.Self, "etcd"}

// costPart draws what a thousand requests cost each process: a drawing for each case, a bar
// for each implementation, a piece for each process.
func costPart(result *bench.Result, suite string) part {
	p := part{table: table{
		title: "CPU time, process by process",
		about: "A bar is the CPU time of a thousand requests to one implementation, with several clients at once. Its pieces are the processes that spent it, the harness left out; " +
			"the figure beside it is that of all of them together. Each case has a scale of its own.",
	}, OnlyHTML: true}
	c := costsOf(result, "cpu", "ms/1000")
	var cases, processes []string
	rows := map[string][]costRow{}
	for _, key := range c.rows {
		if key.suite != suite || !strings.HasPrefix(key.load, "closed") {
			continue
		}
		name := key.name + ", " + strings.TrimPrefix(key.load, "closed, ")
		cases = appendNew(cases, name)
		rows[name] = append(rows[name], key)
		for _, name := range c.processes {
			if m := c.values[key][name]; name != process.Self && m.Median > 0 {
				processes = appendNew(processes, name)
			}
		}
	}
	slices.SortStableFunc(processes, func(a, b string) int { return processRank(a) - processRank(b) })
	style := styled(processes, processesKnown)
	p.Legend = legendOf(processes, style, true)
	for _, name := range cases {
		p.Figures = append(p.Figures, c.figure(name, rows[name], processes, style))
	}
	return p
}

// processRank is where a process is in the legend.
func processRank(name string) int {
	if at := slices.Index(processesKnown, name); at >= 0 {
		return at
	}
	return len(processesKnown)
}

// figure draws the bars of a case.
func (c cost) figure(name string, rows []costRow, processes []string, style map[string]int) figure {
	axis := scale{from: 0, to: figureWidth - barRoom}
	for _, key := range rows {
		axis.high = max(axis.high, c.sum(key, processes), c.values[key][bench.AllProcesses].Median)
	}
	if axis.high == 0 {
		axis.high = 1
	}
	d := &svg{}
	bottom := float64(barTop + len(rows)*(barLabel+barHeight+barGap))
	for _, v := range axis.ticks(60) {
		anchor := "middle"
		if v == 0 {
			anchor = "start"
		}
		d.line("grid", axis.at(v), barTop, axis.at(v), bottom)
		d.text("tick "+anchor, axis.at(v), bottom+14, brief(v, "ms/1000"))
	}
	y := float64(barTop)
	var told []string
	for _, key := range rows {
		d.text("label start", 2, y+barLabel-4, key.impl)
		y += barLabel
		x := 0.0
		var pieces []string
		for _, process := range processes {
			m := c.values[key][process]
			if m.Median <= 0 {
				continue
			}
			text := fmt.Sprintf("%s %s %s", process, brief(m.Median, m.Unit), interval(m.Low, m.High, m.Unit))
			pieces = append(pieces, text)
			d.open(style[process], key.impl+": "+text)
			width := axis.at(m.Median)
			d.bar(style[process], x, y, width, barHeight)
			d.close()
			x += width
		}
		sum := "all " + brief(c.sum(key, processes), "ms/1000")
		if m, ok := c.values[key][bench.AllProcesses]; ok {
			sum = brief(m.Median, m.Unit)
		}
		d.text("label start", x+6, y+barHeight-4, sum)
		told = append(told, key.impl+", all together "+sum+": "+strings.Join(pieces, ", "))
		y += barHeight + barGap
	}
	return d.figure("costs", name, strings.Join(told, ". ")+".", bottom+barFoot)
}

// sum is how long the bar of a row is.
func (c cost) sum(key costRow, processes []string) float64 {
	sum := 0.0
	for _, process := range processes {
		sum += max(0, c.values[key][process].Median)
	}
	return sum
}
