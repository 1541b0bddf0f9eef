package callerreview

import (
	"math/rand"
	"testing"

	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	"k8s.io/apimachinery/pkg/api/apitesting/roundtrip"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"portrule.example/lab/api"
)

// Random objects survive being encoded in JSON and in protobuf.
func TestRoundTrip(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := AddToScheme(scheme, api.Group); err != nil {
		t.Fatal(err)
	}
	codecs := serializer.NewCodecFactory(scheme)
	filler := fuzzer.FuzzerFor(metafuzzer.Funcs, rand.NewSource(1), codecs)
	roundtrip.RoundTripExternalTypes(t, scheme, codecs, filler, nil)
}

// A list of extra values may be nil or empty: the key is there in either case.
func TestExtraValueWithoutItems(t *testing.T) {
	info := UserInfo{Extra: map[string]ExtraValue{"nil": nil, "empty": {}, "one": {"a"}}}
	data, err := info.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	var decoded UserInfo
	if err := decoded.Unmarshal(data); err != nil {
		t.Fatal(err)
	}
	if len(decoded.Extra) != 3 || decoded.Extra["one"].String() != "[a]" {
		t.Errorf("decoded %v, want the keys nil, empty and one", decoded.Extra)
	}
	for _, key := range []string{"nil", "empty"} {
		if value, ok := decoded.Extra[key]; !ok || len(value) != 0 {
			t.Errorf("extra[%q] is %v (there: %t), want an empty list", key, value, ok)
		}
	}
}
