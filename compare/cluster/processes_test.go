package cluster

import "testing"

func TestProgramOf(t *testing.T) {
	for _, c := range []struct {
		command []string
		want    string
	}{
		{[]string{"kube-apiserver", "--advertise-address=172.18.0.2"}, "kube-apiserver"},
		{[]string{"/usr/local/bin/kube-apiserver"}, "kube-apiserver"},
		{[]string{"etcd", "--data-dir=/var/lib/etcd"}, "etcd"},
		{[]string{"/portrule-controller", "--group=firewalld.fedoraproject.org"}, "portrule-controller"},
		{[]string{"/portrule-apiserver", "--secure-port=6443"}, "portrule-apiserver"},
		{[]string{"/portrule-apiserver", "--secure-port=6443", "--group=name-free.firewalld.fedoraproject.org"}, "portrule-apiserver-name-free"},
		{[]string{"/portrule-apiserver", "--group=peer"}, "portrule-apiserver-peer"},
		{[]string{"kube-scheduler"}, ""},
		{[]string{"kube-controller-manager"}, ""},
		{[]string{"/pause"}, ""},
		{[]string{"sh", "-c", "etcd"}, ""},
		{[]string{"etcdctl", "get", "etcd"}, ""},
		{[]string{""}, ""},
	} {
		if got := programOf(c.command); got != c.want {
			t.Errorf("%q is %q, want %q", c.command, got, c.want)
		}
	}
}
