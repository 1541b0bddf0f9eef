package testbed

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"portrule.example/lab/aggregated/certificates"
	aggregatedmanifests "portrule.example/lab/aggregated/manifests"
	"portrule.example/lab/api"
	"portrule.example/lab/compare/certs"
	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/compare/images"
	"portrule.example/lab/compare/rollout"
	crdcertificates "portrule.example/lab/crd/certificates"
	"portrule.example/lab/crd/manifests"
	"portrule.example/lab/crd/webhook"
)

// rolloutTimeout bounds the wait for Pods to run, in a cluster whose node and DNS may
// still be coming up.
const rolloutTimeout = 3 * time.Minute

// The label by which the workloads of the manifests find their Pods.
const nameLabel = "app.kubernetes.io/name"

// aggregatedController is the portrule-controller that puts the rules of the aggregated
// group into force: the manifests have one for the CRD's.
const aggregatedController = manifests.Name + "-aggregated"

// serveInCluster makes a cluster with nodes serve both groups from Pods, as the
// manifests of both trees say, with images of the programs in bin/. What is there
// already is brought up to date, and its certificates are kept.
func (t *Testbed) serveInCluster(ctx context.Context, setup Setup, say func(step string)) error {
	say("loading the images of the programs")
	begin := time.Now()
	if err := t.loadImages(ctx); err != nil {
		return err
	}
	t.Ready.Images = time.Since(begin)

	begin = time.Now()
	say("installing both implementations")
	t.warn("the aggregated server keeps its objects in an etcd of its own, the CRD's are in that of the cluster: both are on the disk of the one node")
	others, err := t.kind.Others()
	if err != nil {
		return err
	}
	if len(others) > 0 {
		t.warn("other kind clusters share this machine (" + strings.Join(others, ", ") + "): delete them for steadier figures")
	}
	work, workCtx := errgroup.WithContext(ctx)
	work.Go(func() error { return t.deployCRD(workCtx, setup) })
	work.Go(func() error { return t.deployAggregated(workCtx, setup) })
	err = work.Wait()
	t.Ready.Implementations = time.Since(begin)
	return err
}

// loadImages makes the images of the programs and brings them to the nodes that lack
// them.
func (t *Testbed) loadImages(ctx context.Context) error {
	t.images = map[string]string{}
	for _, program := range images.Programs {
		path, err := cluster.Binary(program.Program)
		if err != nil {
			return err
		}
		image, err := images.New(program.Name, path)
		if err != nil {
			return err
		}
		if _, err := t.kind.Load(ctx, image); err != nil {
			return err
		}
		t.images[program.Name] = image.Reference()
	}
	return nil
}

// deployAggregated installs the server, its etcd and its APIServices.
func (t *Testbed) deployAggregated(ctx context.Context, setup Setup) error {
	objects, err := decode(ctx, aggregatedmanifests.All())
	if err != nil {
		return err
	}
	secret, err := t.certificate(ctx, aggregatedmanifests.Secret, certificates.New)
	if err != nil {
		return err
	}
	var registrations []*apiregistrationv1.APIService
	var flags []string
	if setup.SharedEndpoints {
		flags = append(flags, "--unique-endpoints=false")
	}
	for _, object := range objects {
		switch object := object.(type) {
		case *appsv1.Deployment:
			t.useImage(&object.Spec.Template.Spec)
			addFlags(object, flags...)
		case *appsv1.StatefulSet:
			t.useImage(&object.Spec.Template.Spec)
			if err := t.makeVolume(ctx, object); err != nil {
				return err
			}
		case *corev1.Secret:
			object.Data = secret
		case *apiregistrationv1.APIService:
			object.Spec.CABundle = secret["ca.crt"]
			registrations = append(registrations, object)
			continue
		}
		if err := t.apply(ctx, object); err != nil {
			return err
		}
	}
	if err := t.rollOut(ctx,
		rollout.Workload{Kind: "StatefulSet", Namespace: aggregatedmanifests.Namespace, Name: aggregatedmanifests.EtcdName},
		rollout.Workload{Kind: "Deployment", Namespace: aggregatedmanifests.Namespace, Name: aggregatedmanifests.Name},
	); err != nil {
		return err
	}
	// Registered before, they would be found unavailable and looked at again with a delay.
	for _, registration := range registrations {
		if err := t.apply(ctx, registration); err != nil {
			return err
		}
	}
	return t.waitForAPIServices(ctx, registrations, api.Resource)
}

// deployCRD installs the CRD, what guards it, and portrule-controller.
func (t *Testbed) deployCRD(ctx context.Context, setup Setup) error {
	objects, err := decode(ctx, slices.Concat(manifests.Namespace, []byte("---\n"), manifests.RBAC, []byte("---\n"), manifests.Controller))
	if err != nil {
		return err
	}
	secret, err := t.certificate(ctx, manifests.Secret, crdcertificates.New)
	if err != nil {
		return err
	}
	crd, err := manifests.CustomResourceDefinition(t.crdGroup)
	if err != nil {
		return err
	}
	crd.Spec.Conversion = webhook.Conversion(apiextensionsv1.WebhookClientConfig{
		Service:  &apiextensionsv1.ServiceReference{Namespace: manifests.SystemNamespace, Name: manifests.Name},
		CABundle: secret["ca.crt"],
	})
	workloads := []rollout.Workload{{Kind: "Deployment", Namespace: manifests.SystemNamespace, Name: manifests.Name}}
	var others []client.Object
	for _, object := range objects {
		switch object := object.(type) {
		case *appsv1.Deployment:
			t.useImage(&object.Spec.Template.Spec)
			addFlags(object, "--webhooks="+strings.Join(setup.CRD.webhooks(), ","), fmt.Sprintf("--controller=%t", setup.Controller))
			if setup.Controller {
				others = append(others, aggregatedControllerOf(object))
				workloads = append(workloads, rollout.Workload{Kind: "Deployment", Namespace: manifests.SystemNamespace, Name: aggregatedController})
			}
		case *corev1.Secret:
			object.Data = secret
		}
	}
	// the controller looks for the CRD when it starts
	for _, object := range slices.Concat([]client.Object{crd}, objects, others) {
		if err := t.apply(ctx, object); err != nil {
			return err
		}
	}
	if err := t.rollOut(ctx, workloads...); err != nil {
		return err
	}
	if err := t.waitForCRD(ctx, crd.Name); err != nil {
		return err
	}
	return t.guardInCluster(ctx, setup.CRD, secret["ca.crt"])
}

// guardInCluster brings the policies and webhook configurations of the set-up into
// force, and removes those of another one.
func (t *Testbed) guardInCluster(ctx context.Context, setup CRDSetup, ca []byte) error {
	where := admissionregistrationv1.WebhookClientConfig{
		Service:  &admissionregistrationv1.ServiceReference{Namespace: manifests.SystemNamespace, Name: manifests.Name},
		CABundle: ca,
	}
	wanted, err := t.guards(ctx, t.crdGroup, setup, where)
	if err != nil {
		return err
	}
	all, err := t.guards(ctx, t.crdGroup, CRDSetup{Policies: true, Webhooks: true, Reservation: true}, where)
	if err != nil {
		return err
	}
	for _, object := range all {
		if slices.ContainsFunc(wanted, func(other client.Object) bool { return t.describe(other) == t.describe(object) }) {
			continue
		}
		if err := t.client.Delete(ctx, object); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("remove %s: %w", t.describe(object), err)
		}
	}
	for _, object := range wanted {
		if err := t.apply(ctx, object); err != nil {
			return err
		}
	}
	if !setup.Policies && !setup.Webhooks {
		return nil
	}
	return t.waitForGuards(ctx, t.crdGroup)
}

// aggregatedControllerOf makes a Deployment of a controller for the aggregated group,
// which answers no webhooks, of the one for the CRD's.
func aggregatedControllerOf(deployment *appsv1.Deployment) *appsv1.Deployment {
	other := renamed(deployment, aggregatedController)
	other.Spec.Replicas = ptr.To[int32](1)
	pod := &other.Spec.Template.Spec
	pod.Containers[0].Args = []string{"--group=" + api.Group}
	pod.Containers[0].VolumeMounts, pod.Volumes = nil, nil
	pod.Containers[0].Ports = slices.DeleteFunc(pod.Containers[0].Ports, func(port corev1.ContainerPort) bool { return port.Name != "health" })
	return other
}

// certificate returns what a Secret holds, or else what it is to hold at first: what
// cert-controller would put there, but at once. kubelet then mounts it when the Pods
// start, and not a minute later.
func (t *Testbed) certificate(ctx context.Context, name string, first func() (map[string][]byte, error)) (map[string][]byte, error) {
	secret, err := t.clientset.CoreV1().Secrets(aggregatedmanifests.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err == nil && len(secret.Data["tls.crt"]) > 0 && len(secret.Data["ca.crt"]) > 0 {
		return secret.Data, nil
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("look for the Secret %s: %w", name, err)
	}
	return first()
}

// volumeClass is the storage class of the volume that a testbed makes.
const volumeClass = "portrule-lab"

// makeVolume makes a volume for etcd, a directory of the node that belongs to the user
// of etcd's container, and makes the StatefulSet claim it. The cluster's own provisioner
// may be one whose volumes only root can write to: fsGroup changes no host path.
func (t *Testbed) makeVolume(ctx context.Context, set *appsv1.StatefulSet) error {
	path := "/var/lib/" + set.Name
	if err := t.kind.MakeDirectory(path, *set.Spec.Template.Spec.SecurityContext.RunAsUser); err != nil {
		return err
	}
	claim := &set.Spec.VolumeClaimTemplates[0]
	claim.Spec.StorageClassName = ptr.To(volumeClass)
	return t.apply(ctx, &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: set.Name},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName:              volumeClass,
			AccessModes:                   claim.Spec.AccessModes,
			Capacity:                      claim.Spec.Resources.Requests,
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path}},
			ClaimRef:                      &corev1.ObjectReference{Namespace: set.Namespace, Name: claim.Name + "-" + set.Name + "-0"},
		},
	})
}

// useImage replaces the names that the manifests have for images by those of the images
// in the nodes.
func (t *Testbed) useImage(pod *corev1.PodSpec) {
	for i := range pod.Containers {
		name, _, _ := strings.Cut(pod.Containers[i].Image, ":")
		if reference, ok := t.images[name]; ok {
			pod.Containers[i].Image, pod.Containers[i].ImagePullPolicy = reference, corev1.PullNever
		}
	}
}

// addFlags replaces or adds flags, each --name=value, of a Deployment's container.
func addFlags(deployment *appsv1.Deployment, flags ...string) {
	container := &deployment.Spec.Template.Spec.Containers[0]
	container.Args = override(container.Args, flags)
}

// renamed is a copy of a Deployment under another name, which has Pods of its own.
func renamed(deployment *appsv1.Deployment, name string) *appsv1.Deployment {
	other := deployment.DeepCopy()
	other.Name = name
	other.Spec.Selector.MatchLabels[nameLabel] = name
	other.Spec.Template.Labels[nameLabel] = name
	for _, constraint := range other.Spec.Template.Spec.TopologySpreadConstraints {
		constraint.LabelSelector.MatchLabels[nameLabel] = name
	}
	return other
}

// apply makes the cluster have an object, by server-side apply: what others have set
// in fields that the object does not name stays.
func (t *Testbed) apply(ctx context.Context, object client.Object) error {
	gvk, err := apiutil.GVKForObject(object, t.client.Scheme())
	if err != nil {
		return err
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return err
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(gvk)
	// of the server, not of the one who applies
	unstructured.RemoveNestedField(u.Object, "status")
	unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
	labels := u.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[partOf] = partOfLab
	u.SetLabels(labels)
	err = t.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(fieldManager), client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("apply %s: %w", t.describe(object), err)
	}
	return nil
}

// rollOut waits until the Pods of the workloads run.
func (t *Testbed) rollOut(ctx context.Context, workloads ...rollout.Workload) error {
	defer t.lookAnew()
	return rollout.Wait(ctx, t.clientset, rolloutTimeout, workloads...)
}

// servePeerInCluster deploys a further aggregated server, which shares the first one's
// etcd, service account and CA.
func (t *Testbed) servePeerInCluster(ctx context.Context, name string, registrations []*apiregistrationv1.APIService, flags ...string) (*Peer, error) {
	secret, err := t.clientset.CoreV1().Secrets(aggregatedmanifests.Namespace).Get(ctx, aggregatedmanifests.Secret, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read the CA of the aggregated server: %w", err)
	}
	ca, err := certs.Load(secret.Data["ca.crt"], secret.Data["ca.key"])
	if err != nil {
		return nil, err
	}
	pair, err := ca.Serving(serviceDNSName(name))
	if err != nil {
		return nil, err
	}
	first, err := t.clientset.AppsV1().Deployments(aggregatedmanifests.Namespace).Get(ctx, aggregatedmanifests.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("look for the aggregated server: %w", err)
	}
	deployment := renamed(&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: first.Namespace}, Spec: first.Spec}, name)
	addFlags(deployment, flags...)
	pod := &deployment.Spec.Template.Spec
	container := &pod.Containers[0]
	container.Args = slices.DeleteFunc(container.Args, func(flag string) bool { return flag == "--rotate-certificates" })
	// etcd knows the server by the first one's certificate still
	const serving = "/etc/portrule-apiserver/serving"
	container.Args = override(container.Args, []string{"--tls-cert-file=" + serving + "/tls.crt", "--tls-private-key-file=" + serving + "/tls.key"})
	container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: "serving", MountPath: serving, ReadOnly: true})
	pod.Volumes = append(pod.Volumes, corev1.Volume{
		Name:         "serving",
		VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name + "-certs"}},
	})
	meta := metav1.ObjectMeta{Namespace: aggregatedmanifests.Namespace, Name: name}
	peer := &Peer{testbed: t, objects: []client.Object{
		&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: meta.Namespace, Name: name + "-certs"},
			Type:       corev1.SecretTypeTLS,
			Data:       map[string][]byte{corev1.TLSCertKey: pair.Cert, corev1.TLSPrivateKeyKey: pair.Key},
		},
		deployment,
		&corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
			Selector: map[string]string{nameLabel: name},
			Ports:    []corev1.ServicePort{{Name: "https", Port: 443, TargetPort: intstr.FromString("https")}},
		}},
	}}
	for _, object := range peer.objects {
		if err := t.apply(ctx, object); err != nil {
			return nil, err
		}
	}
	if err := t.rollOut(ctx, rollout.Workload{Kind: "Deployment", Namespace: meta.Namespace, Name: name}); err != nil {
		return nil, err
	}
	for _, registration := range registrations {
		registration.Spec.CABundle = ca.PEM()
		registration.Spec.Service = &apiregistrationv1.ServiceReference{Namespace: meta.Namespace, Name: name}
		if err := t.apply(ctx, registration); err != nil {
			return nil, err
		}
		peer.objects = append(peer.objects, registration)
	}
	return peer, t.waitForAPIServices(ctx, registrations, api.Resource)
}
