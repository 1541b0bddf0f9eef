package v1_test

import (
	"encoding/json"
	"fmt"
	"reflect"

	"sigs.k8s.io/yaml"

	v1 "portrule.example/lab/api/v1"
	v2 "portrule.example/lab/api/v2"
)

// What people write as v1 is stored as v2. On the way back it is what it was: nothing is
// lost, and what was absent, here replicas, is not filled in.
func ExampleToHub() {
	var before, after v1.PortRule
	manifest := "spec: {name: nginx, host: 10.0.0.3, port: 80, isPremanent: true}"
	if err := yaml.UnmarshalStrict([]byte(manifest), &before); err != nil {
		panic(err)
	}

	var stored v2.PortRule
	v1.ToHub(&before, &stored)
	spec, err := json.Marshal(stored.Spec)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(spec))

	v1.FromHub(&stored, &after)
	fmt.Println("the same again:", reflect.DeepEqual(after, before))
	// Output:
	// {"service":"nginx","endpoint":{"host":"10.0.0.3","port":80},"permanent":true}
	// the same again: true
}
