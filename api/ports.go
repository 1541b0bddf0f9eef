package api

import (
	"fmt"
	"strconv"
	"strings"
)

// Ports is a set of ports.
type Ports []PortRange

// PortRange is the ports from First to Last, both included.
type PortRange struct{ First, Last int32 }

// ParsePorts reads the value of the annotation [AllowedPorts]: ports and ranges,
// separated by commas, such as "8000-9000,443". Spaces around them do not matter.
// It allows what it says and nothing else: an empty value is an error.
func ParsePorts(text string) (Ports, error) {
	var ports Ports
	for _, item := range strings.Split(text, ",") {
		first, last, isRange := strings.Cut(strings.Trim(item, " "), "-")
		if !isRange {
			last = first
		}
		r := PortRange{parsePort(first), parsePort(last)}
		if r.First == 0 || r.Last == 0 || r.First > r.Last {
			return nil, fmt.Errorf("%q is not a port or a range of ports: write it like \"8000-9000,443\"", item)
		}
		ports = append(ports, r)
	}
	return ports, nil
}

// parsePort reads a decimal number of one to five digits and returns 0 if it is
// not a port.
func parsePort(text string) int32 {
	if len(text) > 5 || strings.Trim(text, "0123456789") != "" {
		return 0
	}
	port, err := strconv.ParseInt(text, 10, 32)
	if err != nil || port > 65535 {
		return 0
	}
	return int32(port)
}

// Contain is whether port is one of them.
func (p Ports) Contain(port int32) bool {
	for _, r := range p {
		if r.First <= port && port <= r.Last {
			return true
		}
	}
	return false
}
