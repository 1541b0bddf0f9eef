package trace

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Waterfall is a request that can be drawn.
type Waterfall struct {
	// Title says which request it is, Subtitle how it came about.
	Title, Subtitle string
	// Tree is the request as [Join] returns it.
	Tree *Node
}

// row is a line of the drawing.
type row struct {
	// node is nil for a row that stands for several spans.
	node    *Node
	depth   int
	program string
	// names are what the row stands for, one or several.
	names []string
	// start and end are in time since the request began.
	start, end time.Duration
	// took is the duration that is written beside the bar.
	took time.Duration
	// waits are the parts of the bar in which the program waits for another one.
	waits []interval
}

// interval is a stretch of time since the request began.
type interval struct{ start, end time.Duration }

// foldBelow is the part of the whole below which a span is folded.
const foldBelow = 0.01

// total is the time from the first beginning to the last end.
func (w *Waterfall) total() time.Duration {
	end := w.Tree.End
	var last func(n *Node)
	last = func(n *Node) {
		if n.End.After(end) {
			end = n.End
		}
		for _, child := range n.Children {
			last(child)
		}
	}
	last(w.Tree)
	return max(end.Sub(w.Tree.Start), 1)
}

// rows returns the lines of the drawing from top to bottom, and the spans that are in none
// of them. Neighbours that are trivial share a row, or none if they are trivial together.
func (w *Waterfall) rows() (rows []row, left []*Node) {
	total := w.total()
	short := func(d time.Duration) bool { return float64(d) < foldBelow*float64(total) }
	var trivial func(n *Node) bool
	trivial = func(n *Node) bool {
		return !n.Role.remote() && n.Role != RoleRequest && short(n.Duration()) &&
			!slices.ContainsFunc(n.Children, func(child *Node) bool { return !trivial(child) })
	}
	since := func(t time.Time) time.Duration { return t.Sub(w.Tree.Start) }
	var draw func(n *Node, depth int)
	draw = func(n *Node, depth int) {
		r := row{node: n, depth: depth, program: n.Program, names: []string{n.What()}, start: since(n.Start), end: since(n.End), took: n.Duration()}
		for _, call := range n.calls() {
			r.waits = append(r.waits, interval{since(call.Start), since(call.End)})
		}
		r.waits = union(r.waits)
		rows = append(rows, r)
		var folded []*Node
		fold := func() {
			if len(folded) > 0 {
				if r := foldedRow(folded, depth+1, since); !short(r.took) {
					rows = append(rows, r)
				} else {
					left = append(left, folded...)
				}
			}
			folded = nil
		}
		for _, child := range n.Children {
			if trivial(child) {
				folded = append(folded, child)
				continue
			}
			fold()
			draw(child, depth+1)
		}
		fold()
	}
	draw(w.Tree, 0)
	return rows, left
}

// remainder says what is not drawn, empty if all is.
func remainder(left []*Node) string {
	if len(left) == 0 {
		return ""
	}
	var names []string
	sum := time.Duration(0)
	for _, node := range left {
		if name := node.What(); !slices.Contains(names, name) {
			names = append(names, name)
		}
		sum += node.Duration()
	}
	spans := fmt.Sprintf("%d spans of %s together", len(left), milliseconds(sum))
	if len(left) == 1 {
		spans = "a span of " + milliseconds(sum)
	}
	return fmt.Sprintf("Not drawn, as too short: %s (%s).", spans, strings.Join(names, ", "))
}

// foldedRow is one row for several nodes, one after the other.
func foldedRow(nodes []*Node, depth int, since func(time.Time) time.Duration) row {
	r := row{depth: depth, program: nodes[0].Program, start: since(nodes[0].Start)}
	for _, node := range nodes {
		r.names = append(r.names, node.What())
		r.end = max(r.end, since(node.End))
		r.took += node.Duration()
	}
	if len(nodes) == 1 {
		r.node = nodes[0]
	}
	return r
}

// what says what the row stands for in so many characters: of several, as many as find
// place, and the number of the others.
func (r row) what(room int) string {
	if len(r.names) == 1 {
		return fit(r.names[0], room)
	}
	for n := len(r.names); n > 0; n-- {
		text := strings.Join(r.names[:n], ", ")
		if more := len(r.names) - n; more > 0 {
			text += fmt.Sprintf(" +%d", more)
		}
		if utf8.RuneCountInString(text) <= room {
			return text
		}
	}
	return fmt.Sprintf("%d short", len(r.names))
}

// calls are what the program of a node waits for others in: the node itself, or what is
// below it and done by the same program.
func (n *Node) calls() []*Node {
	if n.Role.remote() || n.Role == RoleRequest && n.request == nil {
		return []*Node{n}
	}
	var calls []*Node
	for _, child := range n.Children {
		calls = append(calls, child.calls()...)
	}
	return calls
}

// callee is the program that answers a call.
func (n *Node) callee() string {
	if n.Role == RoleEtcd {
		return programEtcd
	}
	for _, child := range n.Children {
		if child.Kind == Server {
			return child.Program
		}
	}
	return "another program"
}

// union joins intervals that overlap.
func union(intervals []interval) []interval {
	intervals = slices.Clone(intervals)
	slices.SortFunc(intervals, func(a, b interval) int { return cmp.Compare(a.start, b.start) })
	var joined []interval
	for _, i := range intervals {
		if last := len(joined) - 1; last >= 0 && i.start <= joined[last].end {
			joined[last].end = max(joined[last].end, i.end)
		} else {
			joined = append(joined, i)
		}
	}
	return joined
}

// Waits says who waits for whom, and for how long, a sentence for each program that works
// on the request, and each time that it does.
func (w *Waterfall) Waits() []string {
	var sentences []string
	var say func(n *Node)
	say = func(n *Node) {
		sentences = append(sentences, n.sentence())
		for _, call := range n.calls() {
			for _, child := range call.Children {
				if child.Kind == Server {
					say(child)
				}
			}
		}
	}
	say(w.Tree)
	return sentences
}

// sentence says for whom a program waits while it works on a request.
func (n *Node) sentence() string {
	var waits []*wait
	var all []interval
	for _, call := range n.calls() {
		callee := call.callee()
		at := slices.IndexFunc(waits, func(w *wait) bool { return w.callee == callee })
		if at < 0 {
			at = len(waits)
			waits = append(waits, &wait{callee: callee})
		}
		waits[at].add(call, n)
		all = append(all, waits[at].times[len(waits[at].times)-1])
	}
	var parts []string
	for _, wait := range waits {
		parts = append(parts, wait.String())
	}
	switch {
	case n.request == nil:
		return fmt.Sprintf("%s waits %s.", n.Program, list(parts))
	case len(parts) == 0:
		return fmt.Sprintf("%s works %s on %s, and waits for nobody.", n.Program, milliseconds(n.Duration()), n.What())
	}
	return fmt.Sprintf("%s takes %s for %s: it works %s, and waits %s.",
		n.Program, milliseconds(n.Duration()), n.What(), milliseconds(n.Duration()-sum(union(all))), list(parts))
}

// wait is for whom a program waits, once or several times.
type wait struct {
	callee string
	times  []interval
	// whys say what each of the calls is for.
	whys []string
	// answering is for how long the called program worked on it, as far as it has said.
	answering time.Duration
}

// add adds a call that was made in the course of a request.
func (w *wait) add(call, request *Node) {
	w.times = append(w.times, interval{call.Start.Sub(request.Start), call.End.Sub(request.Start)})
	if why := call.why(); why != "" {
		w.whys = append(w.whys, why)
	}
	for _, child := range call.Children {
		if child.Kind == Server {
			w.answering += child.Duration()
		}
	}
}

// String is a part of a sentence.
func (w *wait) String() string {
	waited := sum(union(w.times))
	var details []string
	for i, why := range w.whys {
		if slices.Contains(w.whys[:i], why) {
			continue
		}
		times := 0
		for _, other := range w.whys {
			if other == why {
				times++
			}
		}
		if times > 1 {
			why = fmt.Sprintf("%d × %s", times, why)
		}
		details = append(details, why)
	}
	if way := waited - w.answering; w.answering > 0 && way > 0 {
		details = append(details, milliseconds(way)+" of it on the way")
	}
	text := milliseconds(waited) + " for " + w.callee
	if len(details) > 0 {
		text += " (" + strings.Join(details, ", ") + ")"
	}
	return text
}

// sum is how long intervals take that do not overlap.
func sum(intervals []interval) time.Duration {
	total := time.Duration(0)
	for _, i := range intervals {
		total += i.end - i.start
	}
	return total
}

// why says what a call is for, empty if it is the request itself.
func (n *Node) why() string {
	if n.request == nil {
		return ""
	}
	return strings.TrimPrefix(strings.TrimPrefix(n.What(), "→ "), "etcd ")
}

// list joins the parts of a sentence.
func list(parts []string) string {
	if len(parts) < 3 {
		return strings.Join(parts, " and ")
	}
	return strings.Join(parts[:len(parts)-1], ", ") + ", and " + parts[len(parts)-1]
}

// milliseconds writes a duration.
func milliseconds(d time.Duration) string { return number(d) + " ms" }

func number(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	switch {
	case ms >= 100:
		return fmt.Sprintf("%.0f", ms)
	case ms >= 10:
		return fmt.Sprintf("%.1f", ms)
	default:
		return fmt.Sprintf("%.2f", ms)
	}
}

// ticks are the times at which an axis of the given length has marks, at most n besides 0.
func ticks(total time.Duration, n int) []time.Duration {
	step := time.Microsecond
	for i := 0; total/step > time.Duration(n); i++ {
		if i%3 == 1 {
			step = step / 2 * 5
		} else {
			step *= 2 // 1, 2, 5, 10
		}
	}
	var marks []time.Duration
	for at := time.Duration(0); at <= total; at += step {
		marks = append(marks, at)
	}
	return marks
}
