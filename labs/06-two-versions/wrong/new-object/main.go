// This program is the conversion webhook of lab 6. What you write is convert.
package main

import (
	"fmt"
	"path"

	"portrule.example/lab/labs/06-two-versions/converter"
)

func main() { converter.Main(convert) }

// convert turns an object into the same object of another version, in place. The object
// is as it comes in JSON; it says its version in apiVersion, and desiredAPIVersion, such as
// versions.firewalld.fedoraproject.org/v2, is the one that it is to have. An error refuses
// the conversion.
func convert(object map[string]any, desiredAPIVersion string) error {
	from, _ := object["spec"].(map[string]any)
	to := map[string]any{}
	switch version := path.Base(desiredAPIVersion); version {
	case "v1":
		endpoint, _ := from["endpoint"].(map[string]any)
		take(from, "service", to, "name")
		take(endpoint, "host", to, "host")
		take(endpoint, "port", to, "port")
		take(endpoint, "protocol", to, "protocol")
		take(from, "permanent", to, "isPremanent")
	case "v2":
		endpoint := map[string]any{}
		take(from, "name", to, "service")
		take(from, "host", endpoint, "host")
		take(from, "port", endpoint, "port")
		take(from, "protocol", endpoint, "protocol")
		take(from, "isPremanent", to, "permanent")
		to["endpoint"] = endpoint
	default:
		return fmt.Errorf("there is no version %s", version)
	}
	old, _ := object["metadata"].(map[string]any)
	object["metadata"] = map[string]any{"name": old["name"], "namespace": old["namespace"]}
	object["apiVersion"], object["spec"] = desiredAPIVersion, to
	return nil
}

// take copies a field, if it is there: what is absent stays absent, and false stays false.
func take(from map[string]any, field string, to map[string]any, as string) {
	if value, ok := from[field]; ok {
		to[as] = value
	}
}
