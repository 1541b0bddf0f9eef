// Package reservation makes R4 hold in the server's own store: in one namespace no
// two PortRules share an endpoint, however many replicas of the server write at
// the same time, and whenever one of them dies.
//
// etcd is asked to create a key once, and the key is made of namespace and
// endpoint: that is a reservation. [Storage] makes one before it creates a rule and
// removes it after the rule is gone. The two writes are no transaction, since
// storage.Interface writes one key at a time, so a reservation can be left without
// its rule. It names its owner, so that this can be told: [Storage] takes such a
// reservation over when the endpoint is wanted again, and [Storage.Repair] removes
// the others and reserves for rules that have none.
//
// The pattern is the one by which Kubernetes allocates cluster IPs and node ports.
package reservation

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/klog/v2"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

const (
	// WriteTimeout is how long a rule may take to be written once its endpoint is
	// reserved. Storage ends the write then.
	WriteTimeout = 10 * time.Second
	// TakeoverAge is how old a reservation must be before it may be taken over from
	// an owner that is not there: a creation that is slow looks like one that has
	// failed. It is WriteTimeout and a margin of 20 s, for a write that etcd commits
	// after its client gave up, for a process that is paused between the two writes,
	// and for clocks that differ between replicas. If any of them does worse, two rules
	// may share an endpoint; Repair says so.
	TakeoverAge = WriteTimeout + 20*time.Second

	// releaseTimeout bounds the removal of a reservation, which no request waits
	// longer for: what is left behind is found later.
	releaseTimeout = 5 * time.Second
	// attempts is how often a reservation that changes hands meanwhile is looked at.
	attempts = 5

	// prefix is where the reservations are, below what the group has in etcd.
	prefix = "/portrule-endpoints"
	// endpointAnnotation holds what is reserved, as [v2.Endpoint.String] spells it.
	endpointAnnotation = api.Group + "/endpoint"
)

// HeldError says that an endpoint belongs to another rule.
type HeldError struct {
	Endpoint v2.Endpoint
	// Owner is the name of the rule that holds the endpoint.
	Owner string
	// Deleting is whether the owner is being deleted.
	Deleting bool
	// Pending is whether the owner is not stored: it is being created, or its creation
	// has failed. The reservation can be taken over after RetryAfter.
	Pending    bool
	RetryAfter time.Duration
}

func (e *HeldError) Error() string {
	switch {
	case e.Pending:
		return fmt.Sprintf("reserved for %s %q, which is being created or was not created: try again in %d s",
			api.Kind, e.Owner, e.RetryAfterSeconds())
	case e.Deleting:
		return fmt.Sprintf("held by %s %q, which is being deleted: try again once it is gone", api.Kind, e.Owner)
	}
	return fmt.Sprintf("held by %s %q", api.Kind, e.Owner)
}

// RetryAfterSeconds is RetryAfter in whole seconds, rounded up, as Retry-After has it.
func (e *HeldError) RetryAfterSeconds() int {
	return int((e.RetryAfter + time.Second - 1) / time.Second)
}

// Storage is a storage of PortRules that reserves their endpoints.
//
// Create and, where it creates, GuaranteedUpdate (server-side apply creates by it)
// return a [*HeldError] if the endpoint is another rule's. Both come after
// validation and admission, and a dry run does not come here at all: see [Storage.Check].
type Storage struct {
	storage.Interface
	// rulesPrefix is that of the keys of all rules.
	rulesPrefix string
	// reservations has one object for each reserved endpoint: who has reserved it.
	reservations storage.Interface
	destroy      factory.DestroyFunc
	// complete is closed once every rule that was there has its reservation.
	complete chan struct{}
	now      func() time.Time
}

// New decorates the storage of the PortRules of a group. config says where the
// reservations are kept: in the same etcd, under <prefix>/<group>/portrule-endpoints.
//
// Creations wait until [Storage.Start] has found out what is reserved already.
func New(group string, rules storage.Interface, config *storagebackend.ConfigForResource) (*Storage, error) {
	own := *config
	own.GroupResource = schema.GroupResource{Group: group, Resource: "portrule-endpoints"}
	own.Prefix = path.Join(own.Prefix, group)
	own.Codec = codec
	own.EncodeVersioner = metav1.SchemeGroupVersion
	reservations, destroy, err := generic.NewRawStorage(&own,
		func() runtime.Object { return &metav1.PartialObjectMetadata{} },
		func() runtime.Object { return &metav1.PartialObjectMetadataList{} }, prefix)
	if err != nil {
		return nil, fmt.Errorf("make the storage of reservations: %w", err)
	}
	return newStorage(rules, "/"+group+"/"+api.Resource+"/", reservations, destroy), nil
}

func newStorage(rules storage.Interface, rulesPrefix string, reservations storage.Interface, destroy factory.DestroyFunc) *Storage {
	return &Storage{Interface: rules, rulesPrefix: rulesPrefix, reservations: reservations, destroy: destroy, complete: make(chan struct{}), now: time.Now}
}

// Destroy closes the connection to etcd that the reservations have.
func (s *Storage) Destroy() { s.destroy() }

// codec writes a reservation as the JSON of a PartialObjectMetadata: a reservation
// is the name, namespace, uid and time of its owner, and nothing else.
var codec = func() runtime.Codec {
	scheme := runtime.NewScheme()
	utilruntime.Must(metav1.AddMetaToScheme(scheme))
	codecs := serializer.NewCodecFactory(scheme)
	info, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), runtime.ContentTypeJSON)
	return codecs.CodecForVersions(info.Serializer, codecs.UniversalDeserializer(), metav1.SchemeGroupVersion, metav1.SchemeGroupVersion)
}()

// newReservation reserves the endpoint of rule for it.
func newReservation(rule *v2.PortRule, now time.Time) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace:         rule.Namespace,
		Name:              rule.Name,
		UID:               rule.UID,
		CreationTimestamp: metav1.NewTime(now),
		Annotations:       map[string]string{endpointAnnotation: rule.Spec.Endpoint.String()},
	}}
}

// key is where the reservation of an endpoint is. Different endpoints have
// different keys: none of the parts of a valid one contains a slash.
func key(namespace, endpoint string) string {
	return prefix + "/" + namespace + "/" + endpoint
}

func keyOf(rule *v2.PortRule) string { return key(rule.Namespace, rule.Spec.Endpoint.String()) }

// Create reserves the endpoint of obj, a PortRule, and creates it.
func (s *Storage) Create(ctx context.Context, key string, obj, out runtime.Object, ttl uint64) error {
	rule := obj.(*v2.PortRule)
	if err := s.await(ctx); err != nil {
		return err
	}
	write, cancel := context.WithTimeoutCause(ctx, WriteTimeout, errTooSlow)
	defer cancel()
	if err := s.reserve(ctx, key, rule); err != nil {
		return err
	}
	err := s.Interface.Create(write, key, obj, out, ttl)
	if unwritten(err) {
		s.release(ctx, rule)
	}
	return explain(write, err)
}

// GuaranteedUpdate reserves the endpoint of a PortRule that tryUpdate creates, and
// is otherwise that of the storage underneath: an endpoint is immutable.
func (s *Storage) GuaranteedUpdate(ctx context.Context, key string, destination runtime.Object, ignoreNotFound bool,
	preconditions *storage.Preconditions, tryUpdate storage.UpdateFunc, cached runtime.Object,
) error {
	if !ignoreNotFound {
		return s.Interface.GuaranteedUpdate(ctx, key, destination, false, preconditions, tryUpdate, cached)
	}
	for range attempts - 1 {
		err := s.createOrUpdate(ctx, key, destination, preconditions, tryUpdate, cached)
		if !storage.IsExist(err) {
			return err
		}
		// created since it was read: to apply it again is to update it
	}
	return s.createOrUpdate(ctx, key, destination, preconditions, tryUpdate, cached)
}

func (s *Storage) createOrUpdate(ctx context.Context, key string, destination runtime.Object,
	preconditions *storage.Preconditions, tryUpdate storage.UpdateFunc, cached runtime.Object,
) error {
	var reserved *v2.PortRule
	var refused error
	write, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := s.Interface.GuaranteedUpdate(write, key, destination, true, preconditions,
		func(input runtime.Object, res storage.ResponseMeta) (runtime.Object, *uint64, error) {
			if reserved != nil {
				// the storage comes back: what it was given has not been written
				s.release(ctx, reserved)
				reserved = nil
			}
			refused = nil
			creating := input.(*v2.PortRule).ResourceVersion == ""
			output, ttl, err := tryUpdate(input, res)
			if err != nil || !creating {
				return output, ttl, err
			}
			if refused = s.await(ctx); refused != nil {
				return nil, nil, refused
			}
			timer := time.AfterFunc(WriteTimeout, func() { cancel(errTooSlow) })
			context.AfterFunc(write, func() { timer.Stop() })
			rule := output.(*v2.PortRule)
			if refused = s.reserve(ctx, key, rule); refused != nil {
				return nil, nil, refused
			}
			reserved = rule.DeepCopy()
			return output, ttl, nil
		}, cached)
	if refused != nil {
		return refused
	}
	if reserved != nil && (unwritten(err) || err == nil && destination.(*v2.PortRule).UID != reserved.UID) {
		s.release(ctx, reserved)
	}
	return explain(write, err)
}

// Delete deletes the rule and then its reservation.
func (s *Storage) Delete(ctx context.Context, key string, out runtime.Object, preconditions *storage.Preconditions,
	validate storage.ValidateObjectFunc, cached runtime.Object, opts storage.DeleteOptions,
) error {
	if err := s.Interface.Delete(ctx, key, out, preconditions, validate, cached, opts); err != nil {
		return err
	}
	s.release(ctx, out.(*v2.PortRule))
	return nil
}

// Check returns the [*HeldError] that a creation of rule under key would return
// now. It changes nothing: a dry run ends with it.
func (s *Storage) Check(ctx context.Context, key string, rule *v2.PortRule) error {
	held, err := s.get(ctx, keyOf(rule))
	if err != nil || held == nil {
		return err
	}
	return s.judge(ctx, key, rule, held)
}

// reserve reserves the endpoint of rule, which is about to be created under key.
func (s *Storage) reserve(ctx context.Context, key string, rule *v2.PortRule) error {
	owner := rule.Name
	for range attempts {
		wanted := newReservation(rule, s.now())
		err := s.reservations.Create(ctx, keyOf(rule), wanted, nil, 0)
		if err == nil || !storage.IsExist(err) {
			return err
		}
		held, err := s.get(ctx, keyOf(rule))
		if err != nil {
			return err
		}
		if held == nil {
			continue // released meanwhile
		}
		owner = held.Name
		if err := s.judge(ctx, key, rule, held); err != nil {
			return err
		}
		err = s.reservations.GuaranteedUpdate(ctx, keyOf(rule), &metav1.PartialObjectMetadata{}, false,
			&storage.Preconditions{UID: &held.UID, ResourceVersion: &held.ResourceVersion},
			func(runtime.Object, storage.ResponseMeta) (runtime.Object, *uint64, error) { return wanted, nil, nil }, nil)
		if err == nil {
			klog.FromContext(ctx).Info("took over the reservation of a rule that is not there", "endpoint", rule.Spec.Endpoint.String(),
				"from", klog.KRef(held.Namespace, held.Name), "to", klog.KObj(rule))
			return nil
		}
		if !gone(err) {
			return err
		}
	}
	return &HeldError{Endpoint: rule.Spec.Endpoint, Owner: owner, Pending: true, RetryAfter: time.Second}
}

// judge returns nil if the reservation held may be taken over for rule, which is
// to be created under key.
func (s *Storage) judge(ctx context.Context, key string, rule *v2.PortRule, held *metav1.PartialObjectMetadata) error {
	owner := &v2.PortRule{}
	if err := s.Get(ctx, path.Join(path.Dir(key), held.Name), storage.GetOptions{IgnoreNotFound: true}, owner); err != nil {
		return fmt.Errorf("read who holds %s: %w", rule.Spec.Endpoint, err)
	}
	switch left := TakeoverAge - s.now().Sub(held.CreationTimestamp.Time); {
	case owner.UID != held.UID && left > 0:
		return &HeldError{Endpoint: rule.Spec.Endpoint, Owner: held.Name, Pending: true, RetryAfter: left}
	case owner.UID != held.UID:
		return nil
	case owner.Name == rule.Name:
		return storage.NewKeyExistsError(key, 0) // the name is what is wrong first
	}
	return &HeldError{Endpoint: rule.Spec.Endpoint, Owner: owner.Name, Deleting: owner.DeletionTimestamp != nil}
}

// get returns a reservation, nil if there is none.
func (s *Storage) get(ctx context.Context, key string) (*metav1.PartialObjectMetadata, error) {
	held := &metav1.PartialObjectMetadata{}
	if err := s.reservations.Get(ctx, key, storage.GetOptions{IgnoreNotFound: true}, held); err != nil {
		return nil, fmt.Errorf("read who has reserved %s: %w", strings.TrimPrefix(key, prefix+"/"), err)
	}
	if held.UID == "" {
		return nil, nil
	}
	return held, nil
}

// release removes the reservation that rule has made, if it has it still. It is
// done even if the request has ended, and a failure is none of the request: what is
// left is taken over or repaired.
func (s *Storage) release(ctx context.Context, rule *v2.PortRule) {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	if _, err := s.remove(bounded, keyOf(rule), &storage.Preconditions{UID: &rule.UID}); err != nil {
		klog.FromContext(ctx).Error(err, "left a reservation behind", "endpoint", rule.Spec.Endpoint.String(), "rule", klog.KObj(rule))
	}
}

// remove deletes a reservation if it is still what preconditions say.
func (s *Storage) remove(ctx context.Context, key string, preconditions *storage.Preconditions) (removed bool, err error) {
	err = s.reservations.Delete(ctx, key, &metav1.PartialObjectMetadata{}, preconditions,
		storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{})
	if gone(err) {
		return false, nil
	}
	return err == nil, err
}

// unwritten is whether err says that a rule was not written for certain: its name is
// taken, it has a resourceVersion, etcd is full, or the rule is too large for etcd or its
// client, upon which the handler of creations tries again without managed fields. After
// any other error it may have been written.
func unwritten(err error) bool {
	return storage.IsExist(err) || errors.Is(err, storage.ErrResourceVersionSetOnCreate) || err != nil &&
		(strings.Contains(err.Error(), "etcdserver: mvcc: database space exceeded") ||
			strings.Contains(err.Error(), "etcdserver: request is too large") ||
			strings.Contains(err.Error(), "trying to send message larger than max"))
}

// gone is whether err says that a reservation is not what it was.
func gone(err error) bool {
	return storage.IsNotFound(err) || storage.IsInvalidObj(err) || storage.IsConflict(err)
}

// errTooSlow ends a write for which its reservation cannot be held any longer.
var errTooSlow = apierrors.NewTimeoutError(fmt.Sprintf("the rule was not written within %s: look whether it is there", WriteTimeout), 0)

// explain returns errTooSlow in place of an error that it has caused.
func explain(write context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(write), errTooSlow) {
		return errTooSlow
	}
	return err
}

// await waits until every rule that was there when the server started has its
// reservation.
func (s *Storage) await(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, WriteTimeout)
	defer cancel()
	select {
	case <-s.complete:
		return nil
	case <-bounded.Done():
		err := apierrors.NewServiceUnavailable("the endpoints of the rules that are there are not reserved yet: try again")
		err.ErrStatus.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
		return err
	}
}
