package aggregated

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/klog/v2"

	"portrule.example/lab/api/callerreview"
)

// recognised is a user and the authenticator that has recognised them. It is what
// the request's context carries, so that a CallerReview can tell.
type recognised struct {
	user.Info
	by callerreview.Authenticator
}

// authenticatorOf returns the authenticator that has recognised a user. The filter
// for impersonation is the only one that puts another user into a request.
func authenticatorOf(info user.Info) callerreview.Authenticator {
	if r, ok := info.(recognised); ok {
		return r.by
	}
	return callerreview.Impersonation
}

// recognise makes the authenticators of info say which of them it was. The union that
// k8s.io/apiserver makes of them does not tell, so the first of it, the one of request
// headers, is asked before it, and the others are told apart by what they leave behind.
//
// The union always lets anonymous callers through (DelegatingAuthenticationOptions has
// a field for that which it does not read): anonymous says whether they are, except to
// the open paths, the health checks, which nobody needs to be known for.
func recognise(info *genericapiserver.AuthenticationInfo, anonymous bool, open []string) {
	union := info.Authenticator
	var headers authenticator.Request
	if config := info.RequestHeaderConfig; config != nil {
		headers = group.NewAuthenticatedGroupAdder(headerrequest.NewDynamicVerifyOptionsSecure(
			config.CAContentProvider.VerifyOptions, config.AllowedClientNames,
			config.UsernameHeaders, config.UIDHeaders, config.GroupHeaders, config.ExtraHeaderPrefixes))
	}
	info.Authenticator = authenticator.RequestFunc(func(req *http.Request) (*authenticator.Response, bool, error) {
		if headers != nil {
			// an error is left to the union, which may have another way
			if response, ok, err := headers.AuthenticateRequest(req); ok && err == nil {
				return by(callerreview.RequestHeader, response), true, nil
			}
		}
		response, ok, err := union.AuthenticateRequest(req)
		if !ok || err != nil {
			return response, ok, err
		}
		if slices.Contains(response.User.GetGroups(), user.AllUnauthenticated) {
			if !anonymous && !slices.Contains(open, req.URL.Path) {
				return nil, false, nil
			}
			return by(callerreview.Anonymous, response), true, nil
		}
		if slices.Contains(response.User.GetExtra()[user.CredentialIDKey], certificateID(req)) {
			return by(callerreview.ClientCertificate, response), true, nil
		}
		return by(callerreview.TokenReview, response), true, nil
	})
}

// awaitClientCA is the hook by which the server is ready only once it knows the
// cluster's client CA. It comes from a ConfigMap, by an informer that k8s.io/apiserver
// starts and does not wait for: whoever connected in that moment with a client
// certificate would be anonymous for as long as the connection lasts.
func awaitClientCA(generic *genericapiserver.RecommendedConfig) genericapiserver.PostStartHookFunc {
	return func(ctx genericapiserver.PostStartHookContext) error {
		all, headers := generic.SecureServing.ClientCA, generic.Authentication.RequestHeaderConfig
		if all == nil || headers == nil {
			return nil
		}
		frontProxyCA := func() int { return len(headers.CAContentProvider.CurrentCABundleContent()) }
		// The names of the headers were read before, from the same ConfigMap: where there
		// are some there is a CA too, and no request of the kube-apiserver is believed
		// until it is here.
		if len(headers.UsernameHeaders.Value()) > 0 {
			// an error means that the server ends
			_ = wait.PollUntilContextCancel(ctx, 10*time.Millisecond, true, func(context.Context) (bool, error) {
				return frontProxyCA() > 0, nil
			})
		}
		// all is the client CA and the front proxy's
		err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, clientCATimeout, true, func(context.Context) (bool, error) {
			return len(all.CurrentCABundleContent()) > frontProxyCA(), nil
		})
		if err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Info("the cluster names no client CA in kube-system/extension-apiserver-authentication: "+
				"client certificates are not accepted until it does", "waited", clientCATimeout)
		}
		return nil
	}
}

// clientCATimeout bounds the wait for a client CA that a cluster need not have.
const clientCATimeout = 3 * time.Second

func by(name callerreview.Authenticator, response *authenticator.Response) *authenticator.Response {
	r := *response // it may be shared with a cache
	r.User = recognised{response.User, name}
	return &r
}

// certificateID is what the authenticator of client certificates leaves in a user's
// extra: the hash of the certificate that this very connection was made with.
func certificateID(req *http.Request) string {
	if req.TLS == nil || len(req.TLS.PeerCertificates) == 0 {
		return "no certificate"
	}
	hash := sha256.Sum256(req.TLS.PeerCertificates[0].Raw)
	return "X509SHA256=" + hex.EncodeToString(hash[:])
}
