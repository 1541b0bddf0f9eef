package emptyfolder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apischema "k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"portrule.example/lab/labs/lab"
)

// zone is the learner's kind, as it should come over the wire.
type zone struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   metav1.ObjectMeta `json:"metadata"`
	Spec       zoneSpec          `json:"spec"`
}

type zoneSpec struct {
	Target     string   `json:"target"`
	Interfaces []string `json:"interfaces,omitempty"`
}

// newZone is one of the lab's namespace.
func (t *trial) newZone(name, target string, interfaces ...string) zone {
	return zone{
		APIVersion: t.group + "/" + t.Constant("version"),
		Kind:       t.Constant("kind"),
		Metadata:   metav1.ObjectMeta{Name: name},
		Spec:       zoneSpec{Target: target, Interfaces: interfaces},
	}
}

// valid is a target that is not to be refused.
func (t *trial) valid() string {
	first, _, _ := strings.Cut(t.Constant("targets"), ",")
	return first
}

// zones is the path of the zones in the lab's namespace, with something behind it.
func (t *trial) zones(rest string) string {
	return t.path("/namespaces/", t.Lab.Namespace(), "/", t.Constant("resource"), rest)
}

// send sends a request by way of the kube-apiserver, as the administrator.
func (t *trial) send(ctx context.Context, method, path string, body any) (*lab.Reply, error) {
	text := ""
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		text = string(data)
	}
	return lab.Send(ctx, t.admin, method, path, "application/json", text)
}

// create creates a zone that should be accepted.
func (t *trial) create(ctx context.Context) (*lab.Finding, error) {
	wanted := t.newZone(t.zone, t.valid(), "eth0", "eth1")
	reply, err := t.send(ctx, http.MethodPost, t.zones(""), wanted)
	if err != nil {
		return nil, err
	}
	if reply.Status != http.StatusCreated {
		return t.notCreated(reply)
	}
	got, finding := t.same(reply, wanted, "what a POST is answered with")
	if finding != nil {
		return finding, nil
	}
	t.uid = string(got.Metadata.UID)
	return t.apply(ctx)
}

// apply applies a new zone, as kubectl apply --server-side --dry-run=server does: the server
// merges in the internal version, by the description.
func (t *trial) apply(ctx context.Context) (*lab.Finding, error) {
	wanted := t.newZone(t.zone+"-applied", t.valid(), "eth0")
	body, err := json.Marshal(wanted)
	if err != nil {
		return nil, err
	}
	const what = "a server-side apply of a new Zone"
	path := t.zones("/"+wanted.Metadata.Name) + "?dryRun=All&fieldManager=" + t.name
	reply, err := lab.Send(ctx, t.admin, http.MethodPatch, path, "application/apply-patch+yaml", string(body))
	switch {
	case err != nil:
		return nil, err
	case strings.Contains(reply.Message(), "internal version"):
		return t.found("internal-version", serverFile, what, status(reply), "Zone in the scheme as the internal version too"), nil
	case reply.Status != http.StatusCreated:
		return t.found("openapi-fields", openapiFile, what, status(reply), "status 201"), nil
	}
	_, finding := t.same(reply, wanted, what)
	return finding, nil
}

// notCreated is the finding of a zone that should have been created.
func (t *trial) notCreated(reply *lab.Reply) (*lab.Finding, error) {
	const what, expected = "a POST of a valid Zone", "status 201"
	message := reply.Message()
	has := func(text string) bool { return strings.Contains(message, text) }
	switch {
	case has("internal version"):
		return t.found("internal-version", serverFile, what, status(reply), "Zone in the scheme as the internal version too"), nil
	case has("not suitable for converting"):
		return t.found("storage-codec", serverFile, what, status(reply), "a codec that encodes as the version that is served"), nil
	case has("name or generateName is required"), has(`spec.target: Invalid value: ""`), has(`spec.target: Unsupported value: ""`), has(`spec.target: Required value`):
		return t.found("fields-lost", typesFile, what, status(reply), "that the server reads what the request says: JSON names in the types"), nil
	case reply.Status == http.StatusUnprocessableEntity:
		return t.found("valid-refused", registryFile, what, status(reply), expected), nil
	}
	words, file, line, err := t.said(t.servers[0])
	if err != nil {
		return nil, err
	}
	log, err := t.logged(t.servers[0], "runtime.Encode(", "etcd3.")
	switch {
	case err != nil:
		return nil, err
	case log:
		return t.found("storage-codec", serverFile, what, status(reply)+"; its log has a panic where objects are encoded for etcd", "a codec for etcd"), nil
	case file != "":
		return t.found("panics", file+":"+line, what, words+", and status "+strconv.Itoa(reply.Status), expected), nil
	}
	return t.found("not-created", registryFile, what, status(reply), expected), nil
}

// same makes sure that an answer has what was asked for.
func (t *trial) same(reply *lab.Reply, wanted zone, what string) (zone, *lab.Finding) {
	var got zone
	if err := json.Unmarshal(reply.Body, &got); err != nil || reply.Status >= http.StatusMultipleChoices {
		return got, t.found("fields-lost", typesFile, what, status(reply), "a Zone")
	}
	problem := func(found, expected string) *lab.Finding {
		return t.found("fields-lost", typesFile, what, found, expected)
	}
	switch {
	case got.Kind != wanted.Kind || got.APIVersion != wanted.APIVersion:
		return got, problem(fmt.Sprintf("kind %q, apiVersion %q", got.Kind, got.APIVersion), fmt.Sprintf("kind %s, apiVersion %s", wanted.Kind, wanted.APIVersion))
	case got.Metadata.Name != wanted.Metadata.Name || got.Metadata.Namespace != t.Lab.Namespace() || got.Metadata.UID == "":
		return got, problem(fmt.Sprintf("name %q, namespace %q, uid %q", got.Metadata.Name, got.Metadata.Namespace, got.Metadata.UID),
			"all of these: metadata is the JSON name of the ObjectMeta")
	case got.Spec.Target != wanted.Spec.Target || !slices.Equal(got.Spec.Interfaces, wanted.Spec.Interfaces):
		return got, problem(fmt.Sprintf("spec %+v", got.Spec), fmt.Sprintf("spec %+v: what was asked for", wanted.Spec))
	}
	return got, nil
}

// eventTimeout bounds the wait for the learner's watch.
const eventTimeout = 10 * time.Second

// watchAndUpdate changes the zone, and sees it in a watch.
func (t *trial) watchAndUpdate(ctx context.Context) (*lab.Finding, error) {
	reply, err := t.send(ctx, http.MethodGet, t.zones("/"+t.zone), nil)
	if err != nil {
		return nil, err
	}
	wanted := t.newZone(t.zone, t.valid(), "eth0", "eth1")
	got, finding := t.same(reply, wanted, "GET of a Zone")
	if finding != nil {
		return finding, nil
	}
	clients, err := dynamic.NewForConfig(t.admin)
	if err != nil {
		return nil, err
	}
	resource := apischema.GroupVersionResource{Group: t.group, Version: t.Constant("version"), Resource: t.Constant("resource")}
	ctx, cancel := context.WithTimeout(ctx, eventTimeout)
	defer cancel()
	events, err := clients.Resource(resource).Namespace(t.Lab.Namespace()).Watch(ctx, metav1.ListOptions{
		FieldSelector: "metadata.name=" + t.zone, ResourceVersion: got.Metadata.ResourceVersion,
	})
	if err != nil {
		return t.found("watch", registryFile, "a watch of zones", err.Error(), "status 200, and events"), ctx.Err()
	}
	defer events.Stop()

	wanted.Spec.Interfaces = []string{"eth2"}
	wanted.Metadata.ResourceVersion = got.Metadata.ResourceVersion
	if reply, err = t.send(ctx, http.MethodPut, t.zones("/"+t.zone), wanted); err != nil {
		return nil, err
	}
	if reply.Status != http.StatusOK {
		return t.found("not-updated", registryFile, "a PUT of a valid Zone", status(reply), "status 200"), nil
	}
	if _, finding := t.same(reply, wanted, "what a PUT is answered with"); finding != nil {
		return finding, nil
	}
	event, open := <-events.ResultChan() // closed after the timeout
	if !open {
		return t.found("watch", registryFile, "a watch of zones, after a change", fmt.Sprintf("no event within %s", eventTimeout), "an event MODIFIED"), nil
	}
	object, ok := event.Object.(*unstructured.Unstructured)
	if !ok || event.Type != watch.Modified {
		return t.found("watch", registryFile, "a watch of zones, after a change", shorten(fmt.Sprintf("event %q: %v", event.Type, event.Object)), "an event MODIFIED"), nil
	}
	if names, _, _ := unstructured.NestedStringSlice(object.Object, "spec", "interfaces"); !slices.Equal(names, wanted.Spec.Interfaces) {
		return t.found("watch", registryFile, "a watch of zones, after a change", fmt.Sprintf("interfaces %q in the event", names), fmt.Sprintf("%q", wanted.Spec.Interfaces)), nil
	}
	t.Verified("a Zone can be created, applied, read, changed and watched")
	return nil, nil
}

// tabular asks for what kubectl get prints.
type tabular struct{ http.RoundTripper }

func (t tabular) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
	return t.RoundTripper.RoundTrip(request)
}

// read lists the zones, as objects and as a table.
func (t *trial) read(ctx context.Context) (*lab.Finding, error) {
	reply, err := t.send(ctx, http.MethodGet, t.zones(""), nil)
	if err != nil {
		return nil, err
	}
	var list struct {
		Kind  string `json:"kind"`
		Items []zone `json:"items"`
	}
	if err := json.Unmarshal(reply.Body, &list); err != nil || reply.Status != http.StatusOK {
		return t.found("list", typesFile, "a list of zones", status(reply), "a ZoneList"), nil
	}
	if len(list.Items) != 1 || list.Items[0].Metadata.Name != t.zone || list.Kind != t.Constant("kind")+"List" {
		return t.found("list", typesFile, "a list of zones", fmt.Sprintf("kind %q with %d items", list.Kind, len(list.Items)), "a ZoneList with the one Zone that is there"), nil
	}

	user := rest.CopyConfig(t.admin)
	user.Wrap(func(rt http.RoundTripper) http.RoundTripper { return tabular{rt} })
	if reply, err = lab.Send(ctx, user, http.MethodGet, t.zones(""), "", ""); err != nil {
		return nil, err
	}
	var table metav1.Table
	wanted := strings.Split(t.Constant("columns"), ", ")
	if err := json.Unmarshal(reply.Body, &table); err != nil || reply.Status != http.StatusOK {
		return t.found("columns", registryFile, "zones as a table", status(reply), "columns "+t.Constant("columns")), nil
	}
	var names []string
	for _, column := range table.ColumnDefinitions {
		names = append(names, column.Name)
	}
	if !slices.Equal(names, wanted) {
		return t.found("columns", registryFile, "zones as a table", "columns "+strings.Join(names, ", "), t.Constant("columns")), nil
	}
	if len(table.Rows) != 1 || len(table.Rows[0].Cells) != len(wanted) || table.Rows[0].Cells[0] != t.zone || table.Rows[0].Cells[1] != t.valid() {
		var cells []any
		if len(table.Rows) > 0 {
			cells = table.Rows[0].Cells
		}
		return t.found("columns", registryFile, "zones as a table", fmt.Sprintf("%d rows, the first one %v", len(table.Rows), cells), "one row, a cell for each column"), nil
	}
	t.Verified("lists are ZoneLists, and kubectl get shows the columns %s", t.Constant("columns"))
	return nil, nil
}

// refuses sends what should be refused.
func (t *trial) refuses(ctx context.Context) (*lab.Finding, error) {
	long := strings.Repeat("x", 1+t.maximum())
	bad := t.newZone(t.zone+"-bad", "NOWHERE")
	for _, ask := range []struct {
		what, field string
		zone        zone
	}{
		{"a POST with the target NOWHERE", "spec.target", bad},
		{"a POST whose second interface has a name of " + strconv.Itoa(len(long)) + " characters", "spec.interfaces[1]",
			t.newZone(t.zone+"-long", t.valid(), "eth0", long)},
	} {
		reply, err := t.send(ctx, http.MethodPost, t.zones(""), ask.zone)
		if err != nil {
			return nil, err
		}
		if finding := t.refused(reply, "not-refused", ask.what, ask.field); finding != nil {
			return finding, nil
		}
	}
	current, err := t.send(ctx, http.MethodGet, t.zones("/"+t.zone), nil)
	if err != nil {
		return nil, err
	}
	var changed zone
	if err := json.Unmarshal(current.Body, &changed); err != nil {
		return nil, err
	}
	changed.Spec.Target = bad.Spec.Target
	reply, err := t.send(ctx, http.MethodPut, t.zones("/"+t.zone), changed)
	if err != nil {
		return nil, err
	}
	if finding := t.refused(reply, "update-not-refused", "a PUT with the target NOWHERE", "spec.target"); finding != nil {
		return finding, nil
	}
	t.Verified("a bad target and a long name are refused, with the field, in a POST and in a PUT")
	return nil, nil
}

// maximum is the length of the name of an interface.
func (t *trial) maximum() int {
	n, _ := strconv.Atoi(t.Constant("maximum")) // the lab's own
	return n
}

// refused makes sure that an answer is a refusal, for one field.
func (t *trial) refused(reply *lab.Reply, id, what, path string) *lab.Finding {
	if reply.Status < http.StatusMultipleChoices {
		return t.found(id, registryFile, what, fmt.Sprintf("status %d: it is accepted", reply.Status), "status 422, for "+path)
	}
	var answer metav1.Status
	if err := json.Unmarshal(reply.Body, &answer); err != nil || reply.Status != http.StatusUnprocessableEntity || answer.Details == nil {
		return t.found("field-path", registryFile, what, status(reply), "status 422, for "+path)
	}
	var fields []string
	for _, cause := range answer.Details.Causes {
		fields = append(fields, cause.Field)
	}
	if !slices.Equal(fields, []string{path}) {
		return t.found("field-path", registryFile, what, fmt.Sprintf("fields %q: %s", fields, shorten(reply.Message())), path)
	}
	return nil
}

// puts sends PUTs that should not do what they could.
func (t *trial) puts(ctx context.Context) (*lab.Finding, error) {
	absent := t.zone + "-absent"
	reply, err := t.send(ctx, http.MethodPut, t.zones("/"+absent), t.newZone(absent, t.valid()))
	if err != nil {
		return nil, err
	}
	if reply.Status != http.StatusNotFound {
		return t.found("put-creates", registryFile, "a PUT of a name that is not there", status(reply), "status 404"), nil
	}
	reply, err = t.send(ctx, http.MethodPut, t.zones("/"+t.zone), t.newZone(t.zone, t.valid()))
	if err != nil {
		return nil, err
	}
	if reply.Status == http.StatusOK {
		return t.found("unconditional-update", registryFile, "a PUT without a resourceVersion", "status 200: it replaces whatever is there",
			"status 422: metadata.resourceVersion must be specified for an update"), nil
	}
	t.Verified("a PUT creates nothing, and replaces only what it has seen")
	return nil, nil
}

// etcd connects to the labs' etcd.
func etcd(where *lab.Cluster) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: where.Etcd, DialTimeout: 5 * time.Second})
}

// forget removes what is under a prefix.
func forget(ctx context.Context, where *lab.Cluster, prefix string) error {
	c, err := etcd(where)
	if err != nil {
		return err
	}
	_, err = c.Delete(ctx, prefix, clientv3.WithPrefix())
	return errors.Join(err, c.Close())
}

// stored looks at the zone in etcd.
func (t *trial) stored(ctx context.Context) (_ *lab.Finding, err error) {
	c, err := etcd(t.where)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	end := "/" + t.Lab.Namespace() + "/" + t.zone
	wanted := t.Constant("prefix") + "/" + t.group + "/" + t.Constant("resource") + end
	reply, err := c.Get(ctx, wanted)
	if err != nil {
		return nil, err
	}
	if len(reply.Kvs) == 0 {
		// who has made it nobody else knows, so the name tells
		keys, err := c.Get(ctx, "/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
		if err != nil {
			return nil, err
		}
		found := "no key that ends in " + end
		for _, kv := range keys.Kvs {
			if key := string(kv.Key); strings.HasSuffix(key, "/"+t.zone) {
				found = key
				if _, err := c.Delete(ctx, key); err != nil {
					return nil, err
				}
			}
		}
		return t.found("storage-key", registryFile, "its key in etcd", found, wanted), nil
	}
	var object zone
	if err := json.Unmarshal(reply.Kvs[0].Value, &object); err != nil {
		return t.found("storage-codec", serverFile, "in etcd", "what is no JSON", "JSON, apiVersion "+t.group+"/"+t.Constant("version")), nil
	}
	if version := t.group + "/" + t.Constant("version"); object.APIVersion != version || object.Kind != t.Constant("kind") {
		return t.found("storage-codec", serverFile, "in etcd", fmt.Sprintf("apiVersion %q, kind %q", object.APIVersion, object.Kind),
			"apiVersion "+version+", kind "+t.Constant("kind")), nil
	}
	t.Verified("in etcd it is %s, as %s", strings.ReplaceAll(strings.ReplaceAll(wanted, t.group, t.Constant("group")), t.zone, "NAME"), t.Constant("version"))
	return nil, nil
}

// users asks the server itself, as users who have no rights and who have one.
func (t *trial) users(ctx context.Context) (*lab.Finding, error) {
	allowed, other := t.Constant("user"), t.Constant("otherUser")
	if err := t.allow(ctx, allowed); err != nil {
		return nil, err
	}
	for _, ask := range []struct {
		id, user string
		status   int
	}{
		{"not-asked", other, http.StatusForbidden},
		{"not-asked", allowed, http.StatusOK},
	} {
		user, err := t.User(ask.user)
		if err != nil {
			return nil, err
		}
		reply, err := t.direct(ctx, t.servers[0], user, t.zones(""))
		if err != nil {
			return nil, err
		}
		if reply.Status == ask.status {
			continue
		}
		rights := "who has no rights"
		if ask.user == allowed {
			rights = "who may list zones"
		}
		return t.found(ask.id, serverFile, "a list of zones asked of the server itself, as "+ask.user+", "+rights,
			fmt.Sprintf("status %d", reply.Status), fmt.Sprintf("status %d, as the cluster's RBAC says", ask.status)), nil
	}
	t.Verified("it asks the cluster who may what: %s is refused, and %s, who may list zones, is not", other, allowed)
	return nil, nil
}

// allow lets a user list the zones of the trial, and waits until that is in force.
func (t *trial) allow(ctx context.Context, user string) error {
	meta := metav1.ObjectMeta{Namespace: t.Lab.Namespace(), Name: t.name}
	for _, object := range []client.Object{
		&rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{APIGroups: []string{t.group}, Resources: []string{t.Constant("resource")}, Verbs: []string{"list"}}}},
		&rbacv1.RoleBinding{
			ObjectMeta: meta,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: t.name},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
		},
	} {
		if err := t.client.Create(ctx, object); err != nil {
			return err
		}
		t.Cleanup(func() error { return client.IgnoreNotFound(t.client.Delete(context.Background(), object)) })
	}
	return wait.PollUntilContextTimeout(ctx, lab.PollInterval, lab.SettleTimeout, true, func(ctx context.Context) (bool, error) {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user,
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: t.Lab.Namespace(), Verb: "list", Group: t.group, Resource: t.Constant("resource"),
			},
		}}
		err := t.client.Create(ctx, review)
		return review.Status.Allowed, err
	})
}

// restart ends the server and asks another process of it for the zone, and removes that.
func (t *trial) restart(ctx context.Context) (*lab.Finding, error) {
	if finding, err := t.ready(ctx, t.servers[1]); finding != nil || err != nil {
		return finding, err
	}
	if _, err := t.recognised(ctx, t.servers[1]); err != nil {
		return nil, err
	}
	if err := t.kill(t.servers[0]); err != nil {
		return nil, err
	}
	reply, err := t.direct(ctx, t.servers[1], t.admin, t.zones("/"+t.zone))
	if err != nil {
		return nil, err
	}
	var got zone
	if err := json.Unmarshal(reply.Body, &got); err != nil || string(got.Metadata.UID) != t.uid {
		return t.found("lost", registryFile, "GET of the Zone from another process of the server, after the first has ended", status(reply), "the same Zone"), nil
	}
	again := lab.Direct(t.admin, t.servers[1].port, t.ca)
	for _, expected := range []int{http.StatusOK, http.StatusNotFound} {
		if reply, err = lab.Send(ctx, again, http.MethodDelete, t.zones("/"+t.zone), "", ""); err != nil {
			return nil, err
		}
		if reply.Status != expected {
			return t.found("not-deleted", registryFile, "a DELETE", status(reply), fmt.Sprintf("status %d", expected)), nil
		}
	}
	t.Verified("when the server has been killed, another process of it has the Zone, and can delete it")
	return nil, nil
}
