package contract_test

import (
	"fmt"

	"portrule.example/lab/compare/contract"
)

// Patterns are IDs of cases or areas, as make parity RUN= has them. One that selects
// nothing is an error, so that a misspelt run does not pass.
func ExampleSelect() {
	table := []contract.Case{{ID: "watch/bookmarks"}, {ID: "list/order"}, {ID: "list/pages"}}
	for _, pattern := range []string{"list", "watch/bookmarks", "lists"} {
		selected, err := contract.Select(table, pattern)
		if err != nil {
			fmt.Println(err)
		}
		for _, c := range selected {
			fmt.Printf("%s: %s of the area %s\n", pattern, c.ID, c.Area())
		}
	}
	// Output:
	// list: list/order of the area list
	// list: list/pages of the area list
	// watch/bookmarks: watch/bookmarks of the area watch
	// there is no case or area "lists": the areas are watch, list
}
