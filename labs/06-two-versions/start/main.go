// This program is the conversion webhook of lab 6. What you write is convert.
package main

import "portrule.example/lab/labs/06-two-versions/converter"

func main() { converter.Main(convert) }

// convert turns an object into the same object of another version, in place. The object
// is as it comes in JSON; it says its version in apiVersion, and desiredAPIVersion, such as
// versions.firewalld.fedoraproject.org/v2, is the one that it is to have. An error refuses
// the conversion.
//
// So far it does what the strategy None does.
func convert(object map[string]any, desiredAPIVersion string) error {
	object["apiVersion"] = desiredAPIVersion
	return nil
}
