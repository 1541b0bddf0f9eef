package readme_test

import (
	"fmt"
	"strings"

	"portrule.example/lab/labs/readme"
)

// Blocks of sh are commands, the text right after one is its output, and comments say
// what is to be done before, or that it must fail.
func ExampleBlocks() {
	text := strings.ReplaceAll(`# A lab

~~~sh
kubectl apply -f rule.yaml
~~~
~~~text
portrule.firewalld.fedoraproject.org/web created
~~~

<!-- lab: fails -->
~~~sh
kubectl get portrules dns
~~~
`, "~~~", "```")
	blocks, err := readme.Blocks(text)
	if err != nil {
		panic(err)
	}
	for _, block := range blocks {
		fmt.Printf("line %d: %q, fails: %t, says what it prints: %t\n", block.Line, block.Commands, block.Fails, block.Output != nil)
	}
	// Output:
	// line 3: "kubectl apply -f rule.yaml\n", fails: false, says what it prints: true
	// line 11: "kubectl get portrules dns\n", fails: true, says what it prints: false
}

// What differs each time is written as … in the README: within a line, or for lines.
func ExampleMatch() {
	want := "NAME   AGE\nweb    …\n…\n"
	fmt.Println(readme.Match(want, "NAME   AGE\nweb    5s\ndns    3m\n"))
	fmt.Println(readme.Match(want, "NAME   AGE\nwww    5s\n"))
	// Output:
	// <nil>
	// the output differs from the README at line 2
	//   README: web    …
	//   output: www    5s
	// the whole output:
	//   NAME   AGE
	//   www    5s
}
