package aggregated

import (
	"testing"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	serverstorage "k8s.io/apiserver/pkg/server/storage"

	"portrule.example/lab/api"
	v1 "portrule.example/lab/api/v1"
	v2 "portrule.example/lab/api/v2"
)

// Whatever a body or etcd holds, decoding it ends in the hub or in an error, and what
// it ends in can be stored and read again in every encoding.
func FuzzDecode(f *testing.F) {
	types := register(api.Group)
	v1Codec := types.codecs.LegacyCodec(schema.GroupVersion{Group: api.Group, Version: v1.Version})
	storages := map[string]runtime.Codec{}
	for _, mediaType := range []string{runtime.ContentTypeProtobuf, runtime.ContentTypeJSON, runtime.ContentTypeYAML} {
		codec, _, err := serverstorage.NewStorageCodec(serverstorage.StorageCodecConfig{
			StorageMediaType: mediaType, StorageSerializer: types.codecs, StorageVersion: types.storageVersion, MemoryVersion: types.hub,
		})
		if err != nil {
			f.Fatal(err)
		}
		storages[mediaType] = codec
	}
	rule := &v2.PortRule{Spec: v2.PortRuleSpec{Service: "nginx", Endpoint: v2.Endpoint{Host: "10.0.0.3", Port: 80, Protocol: v2.ProtocolTCP}}}
	rule.Name, rule.Labels = "rule", map[string]string{"a": "b"}
	for _, codec := range storages {
		encoded, err := runtime.Encode(codec, rule)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
		f.Add(encoded[:len(encoded)/2])
	}
	f.Add([]byte(`{"apiVersion":"firewalld.fedoraproject.org/v1","kind":"PortRule","spec":{"name":"nginx","host":"10.0.0.3","port":80}}`))
	f.Add([]byte(`{"apiVersion":"firewalld.fedoraproject.org/v2","kind":"PortRule","metadata":null,"spec":null}`))
	f.Add([]byte(`{"apiVersion":"firewalld.fedoraproject.org/v2","kind":"PortRuleList","items":[{"spec":{}}]}`))
	f.Add([]byte(`{"apiVersion":"firewalld.fedoraproject.org/v2","kind":"CallerReview"}`))
	f.Add([]byte("k8s\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		object, err := runtime.Decode(types.codecs.UniversalDecoder(types.hub), data)
		if err != nil {
			return
		}
		decoded, ok := object.(*v2.PortRule)
		if !ok {
			return // another kind of the group
		}
		v2.Validate(decoded)
		for mediaType, codec := range storages {
			stored, err := runtime.Encode(codec, decoded)
			if err != nil {
				continue // not what JSON can say, a year beyond 9999 for one
			}
			read, err := runtime.Decode(codec, stored)
			if err != nil {
				t.Fatalf("%s: what was stored cannot be read: %v", mediaType, err)
			}
			if !apiequality.Semantic.DeepEqual(normalize(read), normalize(decoded)) {
				t.Errorf("%s: read %+v, stored %+v", mediaType, read, decoded)
			}
		}
		if _, err := runtime.Encode(v1Codec, decoded); err != nil {
			t.Errorf("it cannot be written as v1: %v", err)
		}
	})
}

// normalize removes what encodings keep differently: the kind, which is that of the
// version, and managed fields, which JSON puts in order.
func normalize(object runtime.Object) *v2.PortRule {
	rule := object.(*v2.PortRule).DeepCopy()
	rule.APIVersion, rule.Kind, rule.ManagedFields = "", "", nil
	return rule
}
