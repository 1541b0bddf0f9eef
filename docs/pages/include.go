package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// include returns a part of a file as a block of Markdown: what as in the documentation of
// the command, all of the file if it is empty.
func (d *documentation) include(file, what string) (string, error) {
	data, err := os.ReadFile(filepath.Join(d.root, filepath.FromSlash(file)))
	if err != nil {
		return "", fmt.Errorf("include: %w", err)
	}
	text, language := string(data), strings.TrimPrefix(path.Ext(file), ".")
	from, to, lines := strings.Cut(what, " ... ")
	switch {
	case lines:
		text, err = between(text, from, to)
	case language == "go":
		text, err = symbol(file, text, what)
	case what != "":
		err = fmt.Errorf("%q is neither a symbol of Go nor FROM ... TO", what)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	return "```" + language + "\n" + strings.Trim(text, "\n") + "\n```", nil
}

// between returns the lines from the first that contains one text to the next that
// contains the other, without what all of them are indented by.
func between(text, from, to string) (string, error) {
	lines := strings.Split(text, "\n")
	for first, line := range lines {
		if !strings.Contains(line, from) {
			continue
		}
		for last := first; last < len(lines); last++ {
			if strings.Contains(lines[last], to) {
				return dedent(lines[first : last+1]), nil
			}
		}
		return "", fmt.Errorf("no line after %q contains %q", from, to)
	}
	return "", fmt.Errorf("no line contains %q", from)
}

func dedent(lines []string) string {
	indent := -1
	for _, line := range lines {
		if trimmed := strings.TrimLeft(line, " \t"); trimmed != "" && (indent < 0 || len(line)-len(trimmed) < indent) {
			indent = len(line) - len(trimmed)
		}
	}
	var out []string
	for _, line := range lines {
		out = append(out, line[min(max(0, indent), len(line)):])
	}
	return strings.Join(out, "\n")
}

// symbol returns the declaration of a top-level symbol or of Type.Method, with its comment.
func symbol(file, text, name string) (string, error) {
	positions := token.NewFileSet()
	parsed, err := parser.ParseFile(positions, file, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return "", err
	}
	cut := func(doc *ast.CommentGroup, node ast.Node) string {
		begin := node.Pos()
		if doc != nil {
			begin = doc.Pos()
		}
		at := positions.Position(begin)
		lines := strings.Split(text[at.Offset-(at.Column-1):positions.Position(node.End()).Offset], "\n")
		return dedent(lines)
	}
	if name == "package" {
		if parsed.Doc == nil {
			return "", errors.New("its package clause has no comment")
		}
		return cut(parsed.Doc, parsed.Name), nil
	}
	for _, declaration := range parsed.Decls {
		switch declaration := declaration.(type) {
		case *ast.FuncDecl:
			if full(declaration) == name {
				return cut(declaration.Doc, declaration), nil
			}
		case *ast.GenDecl:
			for _, spec := range declaration.Specs {
				var names []*ast.Ident
				var doc *ast.CommentGroup
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					names, doc = []*ast.Ident{spec.Name}, spec.Doc
				case *ast.ValueSpec:
					names, doc = spec.Names, spec.Doc
				}
				for _, ident := range names {
					switch {
					case ident.Name != name:
					case declaration.Lparen.IsValid(): // one of several
						return cut(doc, spec), nil
					default:
						return cut(declaration.Doc, declaration), nil
					}
				}
			}
		}
	}
	return "", fmt.Errorf("it declares no %q", name)
}

// full is the name of a function, or Type.Method.
func full(f *ast.FuncDecl) string {
	if f.Recv == nil || len(f.Recv.List) == 0 {
		return f.Name.Name
	}
	receiver := f.Recv.List[0].Type
	for {
		switch of := receiver.(type) {
		case *ast.StarExpr:
			receiver = of.X
		case *ast.IndexExpr:
			receiver = of.X
		case *ast.Ident:
			return of.Name + "." + f.Name.Name
		default:
			return f.Name.Name
		}
	}
}
