// Command pages keeps the documentation true. It fills the pages in docs/ with what
// they show of the compiled files and of the runs in docs/results:
//
//	go run ./docs/pages             # write what has changed
//	go run ./docs/pages --verify    # say what is not true any more, and fail
//
// Run it in the root of the repository. A page is plain Markdown; what is filled in is a
// link, whose title says what belongs there:
//
//	[1.61x](results.md#verbs "verbs/get aggregated/crd latency")
//
// is a figure, of the run on the embedded control plane, or with "kind: " before the
// question of that on kind; package report says what can be asked. A link on a line of its
// own, as
//
//	[aggregated/options.go](../aggregated/options.go "include NewOptions")
//
// is followed by a block of that code: a symbol of Go, Type.Method, package for the
// package clause, or "include FROM ... TO" for the lines from the first that contains the
// one text to the next that contains the other. An image
//
//	![list](results/list.svg "draw scale growth list: latency by objects")
//
// is drawn, and a comment <!-- table: NAME --> is followed by a generated table.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	verify := flag.Bool("verify", false, "change nothing, and fail if a page is not as it would be written, or says what cannot be relied on")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "pages takes no argument %q: it is about all pages\n", flag.Arg(0))
		os.Exit(2)
	}
	if err := run(".", *verify); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(root string, verify bool) error {
	d, err := load(root)
	if err != nil {
		return err
	}
	changed, problems := d.fill()
	for _, path := range changed {
		if verify {
			problems = append(problems, d.differs(path)+" is not what it is made of: run \"make docs\", read what has changed, and commit it")
			continue
		}
		fmt.Println("wrote", path)
	}
	if !verify {
		if err := d.write(changed); err != nil {
			return err
		}
	} else {
		problems = append(problems, d.check()...)
	}
	for _, problem := range problems {
		fmt.Fprintln(os.Stderr, problem)
	}
	if len(problems) > 0 {
		return fmt.Errorf("%d problems in the documentation", len(problems))
	}
	if verify {
		fmt.Printf("%d files, %d figures and %d pieces of code are as they should be\n", len(d.files), d.figures, d.includes)
	}
	return nil
}
