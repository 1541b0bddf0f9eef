package portrule

import (
	"context"
	"fmt"
	"io"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"

	"portrule.example/lab/api/nftables"
	v2 "portrule.example/lab/api/v2"
)

// NFTablesREST serves the subresource portrules/nftables: the script that puts the
// rule into force on a node, computed when it is read.
//
// It is a Connecter and not a Getter, since a Getter's answer is negotiated: a
// request that accepts text/plain, and nothing that objects are encoded as, would
// be refused the text.
type NFTablesREST struct {
	rules *REST
}

var (
	_ rest.Connecter       = &NFTablesREST{}
	_ rest.StorageMetadata = &NFTablesREST{}
)

// NewNFTablesREST returns the scripts of the rules in r.
func NewNFTablesREST(r *REST) *NFTablesREST { return &NFTablesREST{r} }

// New returns an empty PortRule: it is the kind that the subresource belongs to.
func (*NFTablesREST) New() runtime.Object { return &v2.PortRule{} }

// Destroy does nothing: there is nothing to destroy.
func (*NFTablesREST) Destroy() {}

const textPlain = "text/plain"

// ProducesMIMETypes tells OpenAPI.
func (*NFTablesREST) ProducesMIMETypes(string) []string { return []string{textPlain} }

// ProducesObject tells OpenAPI.
func (*NFTablesREST) ProducesObject(string) any { return "" }

// ConnectMethods are the methods of HTTP that it takes.
func (*NFTablesREST) ConnectMethods() []string { return []string{http.MethodGet} }

// NewConnectOptions returns nil: there are no options.
func (*NFTablesREST) NewConnectOptions() (options runtime.Object, subpath bool, subpathKey string) {
	return nil, false, ""
}

// Connect returns a handler that writes the script.
func (r *NFTablesREST) Connect(ctx context.Context, name string, _ runtime.Object, _ rest.Responder) (http.Handler, error) {
	obj, err := r.rules.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	text, err := nftables.Render(obj.(*v2.PortRule))
	if err != nil {
		// stored before a rule of the contract was tightened
		return nil, apierrors.NewInternalError(fmt.Errorf("%s %q: %w", r.rules.DefaultQualifiedResource, name, err))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", textPlain+"; charset=utf-8")
		_, _ = io.WriteString(w, text)
	}), nil
}
