// A wrong answer has only those files that are wrong, which are no package by themselves.
// As a module of their own they are not part of ./... for Go's commands.
module portrule.example/lab/labs/16-from-an-empty-folder/wrong

go 1.26.0
