// This program writes the OpenAPI definitions of the types in types.go. generate.sh makes
// them, from the comments and from the markers, the lines that begin with a plus sign. Of
// a whole package they stand here.
package main
