package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	east "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
)

// mostWords is how many words a page has at most, code and generated tables apart, so that
// it is read.
const mostWords = 1500

// index is the page that leads to all others.
const index = "docs/README.md"

// check returns what is wrong with the pages as they are.
func (d *documentation) check() (problems []string) {
	markdown := goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithParserOptions(parser.WithAutoHeadingID()))
	trees := map[string]ast.Node{}
	for file, source := range d.files {
		trees[file] = markdown.Parser().Parse(text.NewReader([]byte(source)))
	}
	linked := map[string]bool{}
	for file, tree := range trees {
		for _, link := range links(tree) {
			target, problem := d.follow(trees, file, link)
			if problem != "" {
				problems = append(problems, file+": "+problem)
			}
			if path.Dir(file) == path.Dir(index) || file == "docs/zh/README.md" {
				linked[target] = true
			}
		}
	}
	for _, page := range d.pages {
		if !linked[page] && strings.HasPrefix(page, "docs/") && page != index {
			problems = append(problems, page+": no page leads to it")
		}
		for _, problem := range claims(trees[page], []byte(d.files[page])) {
			problems = append(problems, page+": "+problem)
		}
		if n := words(d.files[page]); n > mostWords {
			problems = append(problems, fmt.Sprintf("%s: %d words, and %d are what people read: shorten or divide it", page, n, mostWords))
		}
	}
	problems = append(problems, d.symptoms()...)
	slices.Sort(problems)
	return problems
}

func links(tree ast.Node) (found []string) {
	walk(tree, func(node ast.Node) {
		switch node := node.(type) {
		case *ast.Link:
			found = append(found, string(node.Destination))
		case *ast.Image:
			found = append(found, string(node.Destination))
		}
	})
	return found
}

// follow is the file that a link leads to, or what is wrong with the link.
func (d *documentation) follow(trees map[string]ast.Node, file, link string) (target, problem string) {
	if strings.Contains(link, "://") || strings.HasPrefix(link, "mailto:") {
		return "", ""
	}
	name, anchor, _ := strings.Cut(link, "#")
	target = file
	if name != "" {
		target = path.Join(path.Dir(file), name)
	}
	if _, err := os.Stat(filepath.Join(d.root, filepath.FromSlash(target))); err != nil {
		return "", "the link " + link + " leads nowhere"
	}
	if anchor != "" && (trees[target] == nil || !slices.Contains(anchors(trees[target]), anchor)) {
		return "", target + " has no heading for the link " + link
	}
	return target, ""
}

func anchors(tree ast.Node) (found []string) {
	walk(tree, func(node ast.Node) {
		if heading, ok := node.(*ast.Heading); ok {
			if id, ok := heading.AttributeString("id"); ok {
				found = append(found, string(id.([]byte)))
			}
		}
	})
	return found
}

var (
	// bare is a time or a ratio: what only a run can say. Times of settings are in code.
	bare = regexp.MustCompile(`\b\d[\d.,]*\s?(ms|µs|μs|ns)\b|\b\d+\.\d+x\b`)
	// measured is a claim.
	measured = regexp.MustCompile(`(?i)\bmeasured\b`)
	// unmeasured says that there is none.
	unmeasured = regexp.MustCompile(`(?i)\b(nobody has|not|not been|never|cannot be) measured\b`)
)

// claims returns the figures that are not of a run, and the blocks that speak of something
// measured and lead to nothing that shows it.
func claims(tree ast.Node, source []byte) (problems []string) {
	walk(tree, func(node ast.Node) {
		switch node.Kind() {
		case ast.KindParagraph, ast.KindTextBlock, east.KindTableRow:
		default:
			return
		}
		said, leads := prose(node, source)
		if figure := bare.FindString(said); figure != "" && !generated(node, source) {
			problems = append(problems, fmt.Sprintf("the figure %q is of no run: ask one, by a link with a title, or put a setting into code", figure))
		}
		if measured.MatchString(unmeasured.ReplaceAllString(said, "")) && !leads && !generated(node, source) {
			problems = append(problems, fmt.Sprintf("%q speaks of something measured, without a link to it", clipped(said)))
		}
	})
	return problems
}

// prose is the text of a block outside of code and links, and whether it has a link.
func prose(block ast.Node, source []byte) (string, bool) {
	var out strings.Builder
	leads := false
	_ = ast.Walk(block, func(node ast.Node, entering bool) (ast.WalkStatus, error) {
		switch node := node.(type) {
		case *east.TableCell:
			out.WriteByte(' ') // the text of two is not one word
		case *ast.Link, *ast.AutoLink:
			leads = true
			return ast.WalkSkipChildren, nil
		case *ast.CodeSpan:
			return ast.WalkSkipChildren, nil
		case *ast.Text:
			if entering {
				out.Write(node.Value(source))
				if node.SoftLineBreak() || node.HardLineBreak() {
					out.WriteByte(' ')
				}
			}
		}
		return ast.WalkContinue, nil
	})
	return out.String(), leads
}

// generated is whether a block was written by this program: the run is above it.
func generated(node ast.Node, source []byte) bool {
	for node.Parent() != nil && node.Parent().Kind() != ast.KindDocument {
		node = node.Parent()
	}
	before := node.PreviousSibling()
	html, ok := before.(*ast.HTMLBlock)
	return ok && strings.HasPrefix(string(html.Lines().Value(source)), "<!-- table: ")
}

func clipped(text string) string {
	letters := []rune(strings.Join(strings.Fields(text), " "))
	return string(letters[:min(len(letters), 80)])
}

// words counts those of a page, without blocks of code and generated tables.
func words(source string) int {
	n, fence, table := 0, false, false
	for line := range strings.Lines(source) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "```"):
			fence = !fence
			continue
		case strings.HasPrefix(line, "<!-- table:"):
			table = true
			continue
		case table && line != "" && !strings.HasPrefix(line, "|") && !strings.HasPrefix(line, "- "):
			table = false
		}
		if !fence && !table {
			n += len(strings.Fields(titled.ReplaceAllString(line, "$1")))
		}
	}
	return n
}

func walk(tree ast.Node, visit func(ast.Node)) {
	_ = ast.Walk(tree, func(node ast.Node, entering bool) (ast.WalkStatus, error) {
		if entering {
			visit(node)
		}
		return ast.WalkContinue, nil
	})
}
