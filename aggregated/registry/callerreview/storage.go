// Package callerreview answers CallerReviews. Nothing is stored: the answer to a
// create is all there is.
//
// [REST] shows the least that a resource of an API server can be: a [rest.Creater]
// that is neither a getter nor a lister. So discovery names one verb, kubectl get
// has nothing to ask for, and a CRD, whose objects are always stored, can have no such
// resource.
//
// The user comes from the context, where the server's authentication has put it. Which
// authenticator that was, k8s.io/apiserver does not say: aggregated/authenticator.go notes
// it, and has the function that [NewREST] takes. The kind itself is in api/callerreview.
package callerreview

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"portrule.example/lab/api/callerreview"
)

// REST serves the resource callerreviews, which knows no verb but create.
type REST struct {
	authenticator func(user.Info) callerreview.Authenticator
}

var (
	_ rest.Storage              = &REST{}
	_ rest.Scoper               = &REST{}
	_ rest.Creater              = &REST{}
	_ rest.SingularNameProvider = &REST{}
)

// NewREST returns the resource. authenticator says which authenticator has
// recognised a user.
func NewREST(authenticator func(user.Info) callerreview.Authenticator) *REST {
	return &REST{authenticator}
}

// New returns an empty CallerReview.
func (*REST) New() runtime.Object { return &callerreview.CallerReview{} }

// Destroy does nothing: there is nothing to destroy.
func (*REST) Destroy() {}

// NamespaceScoped is false: a user is who they are everywhere.
func (*REST) NamespaceScoped() bool { return false }

// GetSingularName returns the name that kubectl takes for one of them.
func (*REST) GetSingularName() string { return "callerreview" }

// Create returns who the caller is.
func (r *REST) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	if validate != nil {
		if err := validate(ctx, obj.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	info, ok := genericapirequest.UserFrom(ctx)
	if !ok {
		return nil, apierrors.NewInternalError(errors.New("the request has no user"))
	}
	review := &callerreview.CallerReview{
		ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.Now()},
		Status: callerreview.CallerReviewStatus{
			Authenticator: r.authenticator(info),
			UserInfo: callerreview.UserInfo{
				Username: info.GetName(),
				UID:      info.GetUID(),
				Groups:   info.GetGroups(),
			},
		},
	}
	if extra := info.GetExtra(); len(extra) > 0 {
		review.Status.UserInfo.Extra = make(map[string]callerreview.ExtraValue, len(extra))
		for key, value := range extra {
			review.Status.UserInfo.Extra[key] = value
		}
	}
	return review, nil
}
