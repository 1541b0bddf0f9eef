// Command hook is an admission webhook: it refuses ConfigMaps whose data.port is no port.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "hook:", err)
		os.Exit(1)
	}
}

func run() error {
	address := flag.String("address", "127.0.0.1:18713", "where to listen")
	cert := flag.String("cert", "hook.crt", "the certificate")
	key := flag.String("key", "hook.key", "its key")
	flag.Parse()
	if flag.NArg() > 0 {
		return errors.New("everything is said by flags")
	}
	server := &http.Server{Addr: *address, Handler: http.HandlerFunc(review), ReadHeaderTimeout: 10 * time.Second}
	return server.ListenAndServeTLS(*cert, *key)
}

// review answers an AdmissionReview, and a GET by which one sees that it runs.
func review(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		fmt.Fprintln(w, "ok")
		return
	}
	var asked admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || asked.Request == nil {
		http.Error(w, "an AdmissionReview is expected", http.StatusBadRequest)
		return
	}
	var configMap corev1.ConfigMap
	if err := json.Unmarshal(asked.Request.Object.Raw, &configMap); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	response := &admissionv1.AdmissionResponse{UID: asked.Request.UID, Allowed: true}
	if value, ok := configMap.Data["port"]; ok {
		if port, err := strconv.ParseUint(value, 10, 16); err != nil || port == 0 {
			response.Allowed, response.Result = false, &metav1.Status{Message: fmt.Sprintf("data.port: %q is no port", value)}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(admissionv1.AdmissionReview{TypeMeta: asked.TypeMeta, Response: response}) // who has asked may have gone
}
