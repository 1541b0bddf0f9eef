package converter

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// reviewLimit is what a request may have at most, more than etcd takes for an object.
const reviewLimit = 64 << 20

// serve answers ConversionReviews and writes a line for each to the log.
func serve(convert Convert, log io.Writer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review apiextensionsv1.ConversionReview
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, reviewLimit)).Decode(&review)
		if err == nil && review.Request == nil {
			err = errors.New("it has no request")
		}
		if err != nil {
			http.Error(w, fmt.Sprintf("this is no ConversionReview: %v", err), http.StatusBadRequest)
			return
		}
		request := review.Request
		// the answer has the same type and the same UID, and as many objects, in the same order
		review.Request, review.Response = nil, &apiextensionsv1.ConversionResponse{
			UID: request.UID, Result: metav1.Status{Status: metav1.StatusSuccess},
		}
		line := "to " + path.Base(request.DesiredAPIVersion) + ":"
		for _, object := range request.Objects {
			converted, name, err := convertOne(convert, object.Raw, request.DesiredAPIVersion)
			line += " " + name
			if err != nil {
				// one object that cannot be converted fails them all
				review.Response.ConvertedObjects = nil
				review.Response.Result = metav1.Status{Status: metav1.StatusFailure, Message: err.Error()}
				line += ": " + err.Error()
				break
			}
			review.Response.ConvertedObjects = append(review.Response.ConvertedObjects, runtime.RawExtension{Raw: converted})
		}
		fmt.Fprintln(log, line)
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(review); err != nil {
			fmt.Fprintln(log, "answer:", err)
		}
	})
}

// convertOne converts one object, and returns its name too.
func convertOne(convert Convert, data []byte, desiredAPIVersion string) (converted []byte, name string, err error) {
	defer func() {
		if broken := recover(); broken != nil {
			err = fmt.Errorf("convert panics: %v", broken)
		}
	}()
	var object map[string]any
	// as the kube-apiserver has it: whole numbers are int64
	if err := utiljson.Unmarshal(data, &object); err != nil {
		return nil, "", err
	}
	if metadata, ok := object["metadata"].(map[string]any); ok {
		name = fmt.Sprintf("%v/%v", metadata["namespace"], metadata["name"])
	}
	if err := convert(object, desiredAPIVersion); err != nil {
		return nil, name, err
	}
	converted, err = json.Marshal(object)
	return converted, name, err
}
