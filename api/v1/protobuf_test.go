package v1

import (
	"encoding/hex"
	"testing"

	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	"k8s.io/apimachinery/pkg/api/apitesting/roundtrip"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
)

// Random objects of every version survive being encoded as every other, in
// protobuf as well as in JSON.
func TestProtobufRoundTrip(t *testing.T) {
	roundtrip.RoundTripProtobufTestForScheme(t, newScheme(t), fuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, fuzzDefaulted))
}

// What an older server or client has encoded is to be read, so field numbers stay.
func TestProtobufWireFormat(t *testing.T) {
	yes, some := true, int32(60)
	spec := PortRuleSpec{Name: "a", Host: "b", Port: 80, Protocol: ProtocolTCP, IsPremanent: &yes, TimeoutSeconds: &some, Replicas: &some}
	data, err := spec.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	const want = "0a0161" + "120162" + "1850" + "2203746370" + "2801" + "303c" + "383c"
	if got := hex.EncodeToString(data); got != want {
		t.Errorf("encoded as %s, want %s", got, want)
	}
}
