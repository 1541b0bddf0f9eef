package v2

import (
	"encoding/hex"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/randfill"
)

// message is what go-to-protobuf makes of a type.
type message interface {
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
	Size() int
}

// newFiller fills objects at random, in the same way every time.
func newFiller() *randfill.Filler {
	return fuzzer.FuzzerFor(metafuzzer.Funcs, rand.NewSource(1), serializer.NewCodecFactory(runtime.NewScheme()))
}

func marshal(t testing.TB, from message) []byte {
	t.Helper()
	data, err := from.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if len(data) != from.Size() {
		t.Errorf("%d bytes, want Size, which is %d", len(data), from.Size())
	}
	return data
}

// roundTrip encodes an object and decodes it into an empty one.
func roundTrip(t *testing.T, from, into message) {
	t.Helper()
	data := marshal(t, from)
	if err := into.Unmarshal(data); err != nil {
		t.Fatalf("decode what was encoded: %v", err)
	}
	if !apiequality.Semantic.DeepEqual(from, into) {
		t.Fatalf("%+v became %+v", from, into)
	}
}

func TestProtobufRoundTrip(t *testing.T) {
	filler := newFiller()
	for range 500 {
		var rule PortRule
		filler.Fill(&rule)
		roundTrip(t, &rule, &PortRule{})
		var list PortRuleList
		filler.Fill(&list)
		roundTrip(t, &list, &PortRuleList{})
	}
}

// What an older server or client has encoded is to be read, so the bytes stay what
// they are: field numbers and types above all.
func TestProtobufWireFormat(t *testing.T) {
	yes, no, zero, some := true, false, int32(0), int32(60)
	tests := []struct {
		name  string
		value message
		want  string
	}{
		{
			"spec",
			&PortRuleSpec{Service: "a", Endpoint: Endpoint{Host: "b", Port: 80, Protocol: ProtocolTCP}, Permanent: &yes, TimeoutSeconds: &some, Replicas: &some},
			"0a0161" + "120a" + "0a0162" + "1050" + "1a03746370" + "1801" + "203c" + "283c",
		},
		{
			"absent",
			&PortRuleSpec{},
			"0a00" + "1206" + "0a00" + "1000" + "1a00",
		},
		{
			"zero is not absent",
			&PortRuleSpec{Permanent: &no, TimeoutSeconds: &zero, Replicas: &zero},
			"0a00" + "1206" + "0a00" + "1000" + "1a00" + "1800" + "2000" + "2800",
		},
		{
			"status",
			&PortRuleStatus{ObservedGeneration: 2, Replicas: 3, Selector: "c", Conditions: []metav1.Condition{{}}},
			"0802" + "1003" + "1a0163" + "220c" + "0a00" + "1200" + "1800" + "2200" + "2a00" + "3200",
		},
		{
			"list",
			&PortRuleList{ListMeta: metav1.ListMeta{ResourceVersion: "7"}},
			"0a07" + "0a00" + "120137" + "1a00",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := hex.EncodeToString(marshal(t, test.value)); got != test.want {
				t.Errorf("encoded as %s, want %s", got, test.want)
			}
		})
	}
}

// Whatever the end is missing of, decoding says so, unless whole fields are missing.
func TestProtobufTruncated(t *testing.T) {
	filler := newFiller()
	var rule PortRule
	filler.Fill(&rule)
	data := marshal(t, &rule)
	wholeFields := []int{0}
	for _, field := range []message{&rule.ObjectMeta, &rule.Spec, &rule.Status} {
		size := field.Size()
		wholeFields = append(wholeFields, wholeFields[len(wholeFields)-1]+1+sovGenerated(uint64(size))+size)
	}
	for n := range len(data) + 1 {
		err := new(PortRule).Unmarshal(data[:n])
		if whole := slices.Contains(wholeFields, n); whole != (err == nil) {
			t.Errorf("%d of %d bytes: %v, want an error: %t", n, len(data), err, !whole)
		}
	}
}

// malformed is no encoded PortRule or PortRuleList.
var malformed = map[string]string{
	"metadata is a number":   "\x08\x01",
	"field number 0":         "\x00",
	"end without a group":    "\x0c",
	"groups without an end":  strings.Repeat("\x7b", 10000),
	"length beyond the end":  "\x0a\x7f",
	"length below zero":      "\x0a" + strings.Repeat("\xff", 9) + "\x01",
	"length without an end":  "\x0a" + strings.Repeat("\x80", 10),
	"wire type 7":            "\x7f",
	"text":                   "hello, world",
	"JSON":                   `{"kind":"PortRule"}`,
	"the prefix of the kind": "k8s\x00",
}

func TestProtobufMalformed(t *testing.T) {
	for name, data := range malformed {
		t.Run(name, func(t *testing.T) {
			for _, into := range []message{&PortRule{}, &PortRuleList{}} {
				if err := into.Unmarshal([]byte(data)); err == nil {
					t.Errorf("%q was decoded into a %T: %+v", data, into, into)
				}
			}
		})
	}
}

// A newer client may send fields that this version does not know.
func TestProtobufUnknownField(t *testing.T) {
	known := PortRule{ObjectMeta: metav1.ObjectMeta{Name: "rule"}}
	var rule PortRule
	if err := rule.Unmarshal(append(marshal(t, &known), 0x78, 0x01)); err != nil {
		t.Fatal(err)
	}
	if !apiequality.Semantic.DeepEqual(known, rule) {
		t.Errorf("%+v became %+v", known, rule)
	}
}

// No input makes decoding panic, and what is decoded can be encoded again.
func FuzzUnmarshal(f *testing.F) {
	filler := newFiller()
	for range 5 {
		var list PortRuleList
		filler.Fill(&list)
		list.Items = append(list.Items, PortRule{})
		filler.Fill(&list.Items[0])
		data := marshal(f, &list)
		f.Add(data)
		f.Add(data[:len(data)/2])
		f.Add(data[1:])
		f.Add(marshal(f, &list.Items[0]))
	}
	for _, data := range malformed {
		f.Add([]byte(data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var rule PortRule
		if rule.Unmarshal(data) == nil {
			roundTrip(t, &rule, &PortRule{})
		}
		var list PortRuleList
		if list.Unmarshal(data) == nil {
			roundTrip(t, &list, &PortRuleList{})
		}
	})
}
