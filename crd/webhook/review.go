package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// maxBody is the largest body that is read, in bytes. The API server takes
// requests of 3 MiB; a review of an update holds two such objects and little
// besides, so a limit of 3 MiB would refuse what the API server has let in.
const maxBody = 7 << 20

const jsonType = "application/json"

// serveAdmission serves an admission handler.
//
// It stands in for the ServeHTTP of controller-runtime, which answers what it
// cannot read with status 200 and a review that has no UID, and takes a body of any
// kind for an empty AdmissionReview. What is no review gets an error of HTTP here.
func serveAdmission(handle admission.HandlerFunc) http.Handler {
	hook := &admission.Webhook{Handler: handle}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if _, err := readReview(w, r, &review); err != nil {
			writeError(w, err)
			return
		}
		var uid types.UID
		if review.Request != nil {
			uid = review.Request.UID
		}
		if err := checkReview(review.TypeMeta, uid, admissionv1.SchemeGroupVersion.WithKind("AdmissionReview")); err != nil {
			writeError(w, err)
			return
		}
		response := hook.Handle(r.Context(), admission.Request{AdmissionRequest: *review.Request})
		writeJSON(w, http.StatusOK, admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: &response.AdmissionResponse})
	})
}

// serveConversion hands on to controller-runtime's conversion handler what it can
// answer. That handler reads a body without limit, looks neither at its type nor at
// its kind, and does not say what is wrong with it.
func serveConversion(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review apiextensionsv1.ConversionReview
		body, err := readReview(w, r, &review)
		if err != nil {
			writeError(w, err)
			return
		}
		var uid types.UID
		if review.Request != nil {
			uid = review.Request.UID
		}
		if err := checkReview(review.TypeMeta, uid, apiextensionsv1.SchemeGroupVersion.WithKind("ConversionReview")); err != nil {
			writeError(w, err)
			return
		}
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
		w.Header().Set("Content-Type", jsonType)
		next.ServeHTTP(w, r)
	})
}

// readReview reads the JSON that was posted, and returns it as it came too.
func readReview(w http.ResponseWriter, r *http.Request, into any) ([]byte, *apierrors.StatusError) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, statusError(http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed,
			fmt.Sprintf("%s is not allowed: post a review", r.Method))
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != jsonType {
		return nil, statusError(http.StatusUnsupportedMediaType, metav1.StatusReasonUnsupportedMediaType,
			fmt.Sprintf("content type %q: want %s", r.Header.Get("Content-Type"), jsonType))
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d bytes", tooLarge.Limit))
	}
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("read the body: %v", err))
	}
	if err := json.Unmarshal(body, into); err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("decode the body: %v", err))
	}
	return body, nil
}

// checkReview says what is wrong with a review of that kind whose request has that
// UID, empty if there is none: the answer has to repeat it.
func checkReview(review metav1.TypeMeta, uid types.UID, want schema.GroupVersionKind) *apierrors.StatusError {
	if got := review.GroupVersionKind(); got != want {
		return apierrors.NewBadRequest(fmt.Sprintf("the body is of apiVersion %q and kind %q: want %q and %q",
			review.APIVersion, review.Kind, want.GroupVersion(), want.Kind))
	}
	if uid == "" {
		return apierrors.NewBadRequest(fmt.Sprintf("the %s has no request, or its request no uid", want.Kind))
	}
	return nil
}

func statusError(code int32, reason metav1.StatusReason, message string) *apierrors.StatusError {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: code, Reason: reason, Message: message,
	}}
}

// writeError answers with a Status, from which the API server takes its message.
func writeError(w http.ResponseWriter, err *apierrors.StatusError) {
	status := err.Status()
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	writeJSON(w, int(status.Code), status)
}

func writeJSON(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(code)
	// An error here is the caller's going away: there is nobody left to tell.
	_ = json.NewEncoder(w).Encode(body)
}
