// Package stored reads what etcd has of custom resources, past the kube-apiserver, which
// converts whatever it shows.
//
// It uses etcd's JSON gateway, which is plain HTTP. The program is in cmd/stored.
package stored

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// prefix is what the keys of a kube-apiserver begin with, unless its --etcd-prefix says
// otherwise.
const prefix = "/registry/"

// Object is an object as it is stored.
type Object struct {
	// Name is what of the key is the object's own: its namespace, a slash, its name.
	Name string
	// APIVersion and Spec are those of the value. Spec is empty if it has none.
	APIVersion string
	Spec       json.RawMessage
}

// Version is the API version without its group.
func (o Object) Version() string {
	return o.APIVersion[strings.LastIndex(o.APIVersion, "/")+1:]
}

// Read returns the objects of a custom resource, in the order of their keys.
func Read(ctx context.Context, etcd []string, group, resource string) ([]Object, error) {
	if len(etcd) == 0 {
		return nil, errors.New("this cluster's etcd is not the labs': it cannot be read")
	}
	keys := prefix + group + "/" + resource + "/"
	// the keys from the prefix to the one that follows after all that begin with it
	end := []byte(keys)
	end[len(end)-1]++
	request, err := json.Marshal(map[string][]byte{"key": []byte(keys), "range_end": end})
	if err != nil {
		return nil, err
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(etcd[0], "/")+"/v3/kv/range", bytes.NewReader(request))
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(post)
	if err != nil {
		return nil, fmt.Errorf("read etcd: %w", err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("read etcd: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("read etcd: status %d: %s", response.StatusCode, bytes.TrimSpace(data))
	}
	// keys and values are in base64, as encoding/json has bytes
	var answer struct {
		Pairs []struct{ Key, Value []byte } `json:"kvs"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return nil, fmt.Errorf("read etcd: %w", err)
	}
	var objects []Object
	for _, pair := range answer.Pairs {
		object := Object{Name: strings.TrimPrefix(string(pair.Key), keys)}
		var value struct {
			APIVersion string          `json:"apiVersion"`
			Spec       json.RawMessage `json:"spec"`
		}
		if err := json.Unmarshal(pair.Value, &value); err != nil {
			return nil, fmt.Errorf("read etcd: %s: %w", pair.Key, err)
		}
		object.APIVersion, object.Spec = value.APIVersion, value.Spec
		objects = append(objects, object)
	}
	return objects, nil
}
