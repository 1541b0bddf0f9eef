// This program is the webhook of lab 5: the kube-apiserver asks it about each new PortRule.
// What it answers is in judge; all else is how it is asked.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	v2 "portrule.example/lab/api/v2"
)

// judge says whether the object of a request may be created. R4 of the contract: in one
// namespace no two PortRules have the same endpoint, which is host, port and protocol.
//
// An error is no answer. Then the kube-apiserver does what the failurePolicy says.
func (w *webhook) judge(ctx context.Context, request *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, error) {
	var rule v2.PortRule
	if err := json.Unmarshal(request.Object.Raw, &rule); err != nil {
		return nil, fmt.Errorf("read the rule: %w", err)
	}
	rules, err := w.rules(ctx, request.Namespace)
	if err != nil {
		return nil, err
	}
	response := &admissionv1.AdmissionResponse{Allowed: true}
	for _, other := range rules {
		if other.Spec.Endpoint == rule.Spec.Endpoint {
			response = refused(fmt.Sprintf("%s is held by %s", rule.Spec.Endpoint, other.Name))
		}
	}
	response.UID = request.UID
	return response, nil
}

// refused is an answer that refuses.
func refused(message string) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: message}}
}

// webhook is a server of HTTP.
type webhook struct {
	// client has the credentials of the kubeconfig, server is the address in it.
	client *http.Client
	server string
	group  string
	delay  time.Duration
}

// rules asks the kube-apiserver for the PortRules of a namespace, or of all if it is empty.
func (w *webhook) rules(ctx context.Context, namespace string) ([]v2.PortRule, error) {
	path := "/apis/" + w.group + "/v2"
	if namespace != "" {
		path += "/namespaces/" + namespace
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.server+path+"/portrules", nil)
	if err != nil {
		return nil, err
	}
	response, err := w.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(response.Body)
		return nil, fmt.Errorf("list the rules: %s: %s", response.Status, body)
	}
	var list v2.PortRuleList
	return list.Items, json.NewDecoder(response.Body).Decode(&list)
}

// ServeHTTP is called with an AdmissionReview that has a request, and answers with one that
// has a response.
func (w *webhook) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
		http.Error(rw, "post an AdmissionReview with a request", http.StatusBadRequest)
		return
	}
	response, err := w.judge(r.Context(), review.Request)
	time.Sleep(w.delay)
	if err != nil {
		log.Print(err)
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	review.Request, review.Response = nil, response
	rw.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(rw).Encode(review); err != nil {
		log.Print(err)
	}
}

func main() {
	address := flag.String("address", "127.0.0.1:18445", "where to listen")
	cert := flag.String("tls-cert", "", "the serving certificate")
	key := flag.String("tls-key", "", "its private key")
	kubeconfig := flag.String("kubeconfig", "", "whom to ask for PortRules, and as whom")
	group := flag.String("group", "guarded.firewalld.fedoraproject.org", "the group of PortRule")
	delay := flag.Duration("delay", 0, "answer so much later, such as 3s")
	flag.Parse()

	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		log.Fatal(err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/validate", &webhook{client: client, server: strings.TrimSuffix(config.Host, "/"), group: *group, delay: *delay})
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatal(err)
	}
	log.Print("listening on ", listener.Addr())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ServeTLS(listener, *cert, *key))
}
