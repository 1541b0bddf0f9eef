package portrule

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"
)

// punctual is a storage that gives up a moment before the request's time is up.
//
// Without etcd its client waits for a connection, and so does the request, until the
// filter that guards its time answers for it: by a body that is no proper Status, or,
// if the handler answers at the same moment, by a stream that is reset. What gives up
// before can say why.
type punctual struct{ storage.Interface }

// What is left of a request's time for the answer: a tenth, and at most maxMargin.
const (
	maxMargin   = time.Second
	marginShare = 10
)

var errNoAnswer = apierrors.NewTimeoutError("etcd does not answer: if this was a write, look whether it was made", 1)

// bound returns a context that ends a moment before ctx does, and what says so of an
// error that this has caused. A context without a deadline, a watch's, stays as it is.
func bound(ctx context.Context) (_ context.Context, explain func(error) error, cancel context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return ctx, func(err error) error { return err }, func() {}
	}
	margin := min(time.Until(deadline)/marginShare, maxMargin)
	bounded, cancel := context.WithDeadlineCause(ctx, deadline.Add(-margin), errNoAnswer)
	return bounded, func(err error) error {
		if err != nil && errors.Is(context.Cause(bounded), errNoAnswer) {
			return errNoAnswer
		}
		return err
	}, cancel
}

func (p punctual) Create(ctx context.Context, key string, obj, out runtime.Object, ttl uint64) error {
	ctx, explain, cancel := bound(ctx)
	defer cancel()
	return explain(p.Interface.Create(ctx, key, obj, out, ttl))
}

func (p punctual) Delete(ctx context.Context, key string, out runtime.Object, preconditions *storage.Preconditions,
	validate storage.ValidateObjectFunc, cached runtime.Object, opts storage.DeleteOptions,
) error {
	ctx, explain, cancel := bound(ctx)
	defer cancel()
	return explain(p.Interface.Delete(ctx, key, out, preconditions, validate, cached, opts))
}

func (p punctual) Get(ctx context.Context, key string, opts storage.GetOptions, out runtime.Object) error {
	ctx, explain, cancel := bound(ctx)
	defer cancel()
	return explain(p.Interface.Get(ctx, key, opts, out))
}

func (p punctual) GetList(ctx context.Context, key string, opts storage.ListOptions, list runtime.Object) error {
	ctx, explain, cancel := bound(ctx)
	defer cancel()
	return explain(p.Interface.GetList(ctx, key, opts, list))
}

func (p punctual) GuaranteedUpdate(ctx context.Context, key string, destination runtime.Object, ignoreNotFound bool,
	preconditions *storage.Preconditions, tryUpdate storage.UpdateFunc, cached runtime.Object,
) error {
	ctx, explain, cancel := bound(ctx)
	defer cancel()
	return explain(p.Interface.GuaranteedUpdate(ctx, key, destination, ignoreNotFound, preconditions, tryUpdate, cached))
}
