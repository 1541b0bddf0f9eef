package reservation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/klog/v2"

	"portrule.example/lab/api"
	v2 "portrule.example/lab/api/v2"
)

// rulesPrefix is where the rules are.
const rulesPrefix = "/firewalld.fedoraproject.org/portrules/"

// fake is a storage in memory that behaves as the one of etcd does where Storage
// can tell: it keeps bytes, so what a codec loses is lost here, and each write is
// conditional on the revision that was read.
type fake struct {
	storage.Interface // nil: what is not below is not called
	prefix            string
	codec             runtime.Codec

	// before, if set, is called ahead of each round trip, which does not take place
	// if it returns an error. op is get, list, create, update or delete: an update
	// or a delete whose object has changed meanwhile is tried anew, and is called so
	// each time. It may use the storage.
	before func(op, key string) error
	// after, if set, is called once the round trip has taken place; its error is all
	// that the caller learns.
	after func(op, key string) error

	mu       sync.Mutex
	revision int64
	values   map[string]value
}

// value is what is stored under a key. Revision 0 means nothing.
type value struct {
	data     []byte
	revision int64
}

var versioner storage.APIObjectVersioner

func newFake(prefix string, codec runtime.Codec) *fake {
	return &fake{prefix: prefix, codec: codec, revision: 1, values: map[string]value{}}
}

func (f *fake) Versioner() storage.Versioner { return versioner }

func (f *fake) Get(ctx context.Context, key string, opts storage.GetOptions, out runtime.Object) error {
	current, err := f.read(ctx, key)
	switch {
	case err != nil:
		return err
	case current.revision != 0:
		return f.decode(current, out)
	case opts.IgnoreNotFound:
		return runtime.SetZeroValue(out)
	}
	return storage.NewKeyNotFoundError(key, 0)
}

func (f *fake) Create(ctx context.Context, key string, obj, out runtime.Object, _ uint64) error {
	if version, err := versioner.ObjectResourceVersion(obj); err == nil && version != 0 {
		return storage.ErrResourceVersionSetOnCreate
	}
	data, err := f.encode(obj)
	if err != nil {
		return err
	}
	written, ok, err := f.write(ctx, "create", key, 0, data)
	if err != nil {
		return err
	}
	if !ok {
		return storage.NewKeyExistsError(key, 0)
	}
	if out == nil {
		return nil
	}
	return f.decode(written, out)
}

func (f *fake) Delete(ctx context.Context, key string, out runtime.Object, preconditions *storage.Preconditions,
	validate storage.ValidateObjectFunc, cached runtime.Object, _ storage.DeleteOptions,
) error {
	return f.change(ctx, "delete", key, out, false, preconditions, cached, func(obj runtime.Object, _ storage.ResponseMeta) (runtime.Object, error) {
		return nil, validate(ctx, obj)
	})
}

func (f *fake) GuaranteedUpdate(ctx context.Context, key string, out runtime.Object, ignoreNotFound bool,
	preconditions *storage.Preconditions, tryUpdate storage.UpdateFunc, cached runtime.Object,
) error {
	return f.change(ctx, "update", key, out, ignoreNotFound, preconditions, cached, func(obj runtime.Object, res storage.ResponseMeta) (runtime.Object, error) {
		output, _, err := tryUpdate(obj, res)
		return output, err
	})
}

// change makes of the object under key what try returns, nothing if op is delete,
// and returns in out what is there now or was there last. It starts from cached if
// that is not nil, and comes back with what is stored if it has started from
// something else.
func (f *fake) change(ctx context.Context, op, key string, out runtime.Object, ignoreNotFound bool, preconditions *storage.Preconditions,
	cached runtime.Object, try func(runtime.Object, storage.ResponseMeta) (runtime.Object, error),
) error {
	var current value
	var err error
	fresh := cached == nil
	if fresh {
		current, err = f.read(ctx, key)
	} else {
		current, err = f.valueOf(cached)
	}
	for {
		if err != nil {
			return err
		}
		if current.revision == 0 && !ignoreNotFound {
			return storage.NewKeyNotFoundError(key, 0)
		}
		wanted, err := f.attempt(key, current, out, preconditions, try)
		if err != nil {
			if fresh {
				return err
			}
			fresh = true
			started, tried := current.revision, err
			if current, err = f.read(ctx, key); err == nil && current.revision == started {
				return tried // the cache was right
			}
			continue
		}
		if op == "update" && fresh && bytes.Equal(wanted, current.data) {
			return f.decode(current, out)
		}
		written, ok, err := f.write(ctx, op, key, current.revision, wanted)
		if err != nil {
			return err
		}
		if !ok {
			current, fresh = written, true
			continue
		}
		if op == "delete" {
			current.revision = written.revision
			return f.decode(current, out)
		}
		return f.decode(written, out)
	}
}

// attempt returns what try makes of current, encoded; nil if it makes nothing.
func (f *fake) attempt(key string, current value, kind runtime.Object, preconditions *storage.Preconditions,
	try func(runtime.Object, storage.ResponseMeta) (runtime.Object, error),
) ([]byte, error) {
	obj := reflect.New(reflect.TypeOf(kind).Elem()).Interface().(runtime.Object)
	if current.revision != 0 {
		if err := f.decode(current, obj); err != nil {
			return nil, err
		}
	}
	if err := preconditions.Check(key, obj); err != nil {
		return nil, err
	}
	output, err := try(obj, storage.ResponseMeta{ResourceVersion: uint64(current.revision)})
	if err != nil || output == nil {
		return nil, err
	}
	return f.encode(output)
}

func (f *fake) GetList(ctx context.Context, key string, opts storage.ListOptions, list runtime.Object) error {
	key, err := storage.PrepareKey(f.prefix, key, opts.Recursive)
	if err != nil {
		return err
	}
	if err := f.begin(ctx, "list", key); err != nil {
		return err
	}
	f.mu.Lock()
	values, revision := maps.Clone(f.values), f.revision
	f.mu.Unlock()
	items := reflect.ValueOf(list).Elem().FieldByName("Items")
	for _, k := range slices.Sorted(maps.Keys(values)) {
		if !strings.HasPrefix(k, key) {
			continue
		}
		item := reflect.New(items.Type().Elem())
		if err := f.decode(values[k], item.Interface().(runtime.Object)); err != nil {
			return err
		}
		items.Set(reflect.Append(items, item.Elem()))
	}
	if err := f.end("list", key); err != nil {
		return err
	}
	return versioner.UpdateList(list, uint64(revision), "", nil)
}

// begin and end are around a round trip.
func (f *fake) begin(ctx context.Context, op, key string) error {
	if f.before != nil {
		if err := f.before(op, key); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (f *fake) end(op, key string) error {
	if f.after == nil {
		return nil
	}
	return f.after(op, key)
}

func (f *fake) read(ctx context.Context, key string) (value, error) {
	key, err := storage.PrepareKey(f.prefix, key, false)
	if err != nil {
		return value{}, err
	}
	if err := f.begin(ctx, "get", key); err != nil {
		return value{}, err
	}
	f.mu.Lock()
	current := f.values[key]
	f.mu.Unlock()
	return current, f.end("get", key)
}

// write puts data under key, or nothing if it is nil, if what is there is of
// revision. It returns what is there afterwards, and whether it has written that.
func (f *fake) write(ctx context.Context, op, key string, revision int64, data []byte) (value, bool, error) {
	key, err := storage.PrepareKey(f.prefix, key, false)
	if err != nil {
		return value{}, false, err
	}
	if err := f.begin(ctx, op, key); err != nil {
		return value{}, false, err
	}
	f.mu.Lock()
	current := f.values[key]
	ok := current.revision == revision
	if ok {
		f.revision++
		current = value{data, f.revision}
		if data == nil {
			delete(f.values, key)
		} else {
			f.values[key] = current
		}
	}
	f.mu.Unlock()
	return current, ok, f.end(op, key)
}

func (f *fake) encode(obj runtime.Object) ([]byte, error) {
	if err := versioner.PrepareObjectForStorage(obj); err != nil {
		return nil, err
	}
	return runtime.Encode(f.codec, obj)
}

func (f *fake) decode(v value, into runtime.Object) error {
	if err := runtime.SetZeroValue(into); err != nil {
		return err
	}
	obj, _, err := f.codec.Decode(v.data, nil, into)
	if err != nil {
		return err
	}
	if obj != into {
		return fmt.Errorf("decoded a %T in place of a %T", obj, into)
	}
	return versioner.UpdateObject(into, uint64(v.revision))
}

// valueOf is what is stored if obj is.
func (f *fake) valueOf(obj runtime.Object) (value, error) {
	revision, err := versioner.ObjectResourceVersion(obj)
	if err != nil {
		return value{}, err
	}
	data, err := f.encode(obj.DeepCopyObject())
	return value{data, int64(revision)}, err
}

// dump is all that is stored, by key.
func (f *fake) dump() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := map[string]string{}
	for key, v := range f.values {
		all[key] = fmt.Sprintf("%d %s", v.revision, v.data)
	}
	return all
}

// ruleCodec writes rules as the server does, but for the hub.
var ruleCodec = func() runtime.Codec {
	scheme := runtime.NewScheme()
	utilruntime.Must(v2.AddToScheme(scheme, api.Group))
	codecs := serializer.NewCodecFactory(scheme)
	info, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), runtime.ContentTypeJSON)
	version := schema.GroupVersion{Group: api.Group, Version: v2.Version}
	return codecs.CodecForVersions(info.Serializer, codecs.UniversalDeserializer(), version, version)
}()

// clock is the time of all replicas. It stands still.
type clock struct {
	mu   sync.Mutex
	time time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.time
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.time = c.time.Add(d)
}

// etcd is what the replicas share.
type etcd struct {
	*testing.T
	ctx                 context.Context
	rules, reservations *fake
	clock               *clock
}

func newEtcd(t *testing.T) *etcd {
	t.Helper()
	return &etcd{
		T:            t,
		ctx:          klog.NewContext(t.Context(), logr.Discard()),
		rules:        newFake(strings.TrimSuffix(rulesPrefix, "/"), ruleCodec),
		reservations: newFake(prefix, codec),
		clock:        &clock{time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
	}
}

// starting returns a replica that does not know yet what is reserved, replica one
// that does.
func (e *etcd) starting() *Storage {
	s := newStorage(e.rules, rulesPrefix, e.reservations, func() {})
	s.now = e.clock.now
	return s
}

func (e *etcd) replica() *Storage {
	s := e.starting()
	close(s.complete)
	return s
}

// create and apply make a rule as POST and server-side apply do.
func (e *etcd) create(s *Storage, rule *v2.PortRule) error {
	return s.Create(e.ctx, ruleKey(rule), rule.DeepCopy(), &v2.PortRule{}, 0)
}

func (e *etcd) apply(s *Storage, rule *v2.PortRule) error {
	return s.GuaranteedUpdate(e.ctx, ruleKey(rule), &v2.PortRule{}, true, &storage.Preconditions{}, applying(rule), nil)
}

// ways are how a rule comes to be.
var ways = []struct {
	name string
	make func(*etcd, *Storage, *v2.PortRule) error
}{{"create", (*etcd).create}, {"apply", (*etcd).apply}}

func (e *etcd) delete(s *Storage, rule *v2.PortRule) error {
	return s.Delete(e.ctx, ruleKey(rule), &v2.PortRule{}, nil, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{})
}

// given stores a rule, with its reservation; present one without; leaked a
// reservation without its rule.
func (e *etcd) given(rules ...*v2.PortRule) {
	e.Helper()
	for _, rule := range rules {
		if err := e.create(e.replica(), rule); err != nil {
			e.Fatal(err)
		}
	}
}

func (e *etcd) present(rules ...*v2.PortRule) {
	e.Helper()
	for _, rule := range rules {
		if err := e.rules.Create(e.ctx, ruleKey(rule), rule.DeepCopy(), nil, 0); err != nil {
			e.Fatal(err)
		}
	}
}

func (e *etcd) leaked(age time.Duration, rules ...*v2.PortRule) {
	e.Helper()
	for _, rule := range rules {
		if err := e.reservations.Create(e.ctx, keyOf(rule), newReservation(rule, e.clock.now().Add(-age)), nil, 0); err != nil {
			e.Fatal(err)
		}
	}
}

// held are the uids that hold an endpoint, by namespace/protocol/host/port.
func (e *etcd) held() map[string]types.UID {
	e.Helper()
	var list metav1.PartialObjectMetadataList
	e.list(e.reservations, prefix, &list)
	held := map[string]types.UID{}
	for _, r := range list.Items {
		held[r.Namespace+"/"+r.Annotations[endpointAnnotation]] = r.UID
	}
	return held
}

// stored are the uids of the rules, by namespace/name.
func (e *etcd) stored() map[string]types.UID {
	e.Helper()
	stored := map[string]types.UID{}
	for _, rule := range e.readRules() {
		stored[rule.Namespace+"/"+rule.Name] = rule.UID
	}
	return stored
}

func (e *etcd) readRules() []v2.PortRule {
	e.Helper()
	var list v2.PortRuleList
	e.list(e.rules, rulesPrefix, &list)
	return list.Items
}

// list reads past the hooks.
func (e *etcd) list(f *fake, key string, into runtime.Object) {
	e.Helper()
	unhooked := &fake{prefix: f.prefix, codec: f.codec}
	f.mu.Lock()
	unhooked.values, unhooked.revision = maps.Clone(f.values), f.revision
	f.mu.Unlock()
	if err := unhooked.GetList(context.Background(), key, storage.ListOptions{Recursive: true, Predicate: storage.Everything}, into); err != nil {
		e.Fatal(err)
	}
}

// wantHeld fails the test unless the rules hold their endpoints, and no other does.
func (e *etcd) wantHeld(rules ...*v2.PortRule) {
	e.Helper()
	want := map[string]types.UID{}
	for _, rule := range rules {
		want[rule.Namespace+"/"+rule.Spec.Endpoint.String()] = rule.UID
	}
	if got := e.held(); !maps.Equal(got, want) {
		e.Errorf("held: %v, want %v", got, want)
	}
}

func (e *etcd) wantStored(rules ...*v2.PortRule) {
	e.Helper()
	want := map[string]types.UID{}
	for _, rule := range rules {
		want[rule.Namespace+"/"+rule.Name] = rule.UID
	}
	if got := e.stored(); !maps.Equal(got, want) {
		e.Errorf("stored: %v, want %v", got, want)
	}
}

// wantConsistent fails the test unless each rule holds its endpoint and nobody
// else any.
func (e *etcd) wantConsistent() {
	e.Helper()
	var rules []*v2.PortRule
	for _, rule := range e.readRules() {
		rules = append(rules, &rule)
	}
	e.wantHeld(rules...)
	if held := e.held(); len(held) != len(rules) {
		e.Errorf("%d rules hold %d endpoints", len(rules), len(held))
	}
}

var lastUID atomic.Int64

// newRule returns a rule in the namespace shop, as it is when it comes to the
// storage: validated, and with a uid of its own.
func newRule(name, host string, port int32) *v2.PortRule {
	rule := &v2.PortRule{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: newUID(name)},
		Spec:       v2.PortRuleSpec{Service: "nginx", Endpoint: v2.Endpoint{Host: host, Port: port}},
	}
	v2.Default(rule)
	return rule
}

func newUID(name string) types.UID { return types.UID(fmt.Sprintf("%s#%d", name, lastUID.Add(1))) }

func in(namespace string, rule *v2.PortRule) *v2.PortRule {
	rule.Namespace = namespace
	return rule
}

func speaking(protocol v2.Protocol, rule *v2.PortRule) *v2.PortRule {
	rule.Spec.Endpoint.Protocol = protocol
	return rule
}

// made returns rule with its creation some time before the clock's.
func (e *etcd) made(ago time.Duration, rule *v2.PortRule) *v2.PortRule {
	rule.CreationTimestamp = metav1.NewTime(e.clock.now().Add(-ago))
	return rule
}

func ruleKey(rule *v2.PortRule) string { return rulesPrefix + rule.Namespace + "/" + rule.Name }

// applying makes rule, or gives the one that is there the service of rule.
func applying(rule *v2.PortRule) storage.UpdateFunc {
	return func(input runtime.Object, _ storage.ResponseMeta) (runtime.Object, *uint64, error) {
		existing := input.(*v2.PortRule)
		if existing.ResourceVersion == "" {
			return rule.DeepCopy(), nil, nil
		}
		existing.Spec.Service = rule.Spec.Service
		return existing, nil, nil
	}
}

// once calls f at the first such round trip; the error is f's.
func once(op string, f func() error) func(op, key string) error {
	var done atomic.Bool
	return func(o, _ string) error {
		if o != op || !done.CompareAndSwap(false, true) {
			return nil
		}
		return f()
	}
}

// wantHeldError fails the test unless err is a HeldError, which it returns.
func wantHeldError(t *testing.T, err error) *HeldError {
	t.Helper()
	var held *HeldError
	if !errors.As(err, &held) {
		t.Fatalf("got %v, want a HeldError", err)
	}
	return held
}
