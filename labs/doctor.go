package labs

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"portrule.example/lab/compare/cluster"
	"portrule.example/lab/labs/lab"
)

// doctor looks at everything that a lab may fail at for reasons that are not the
// learner's, and says all of it.
func (r *runner) doctor(ctx context.Context, workshop bool) error {
	sick := false
	say := func(err error, format string, args ...any) {
		if err == nil {
			r.stdout.paragraph(r.stdout.tick(), fmt.Sprintf(format, args...))
			return
		}
		sick = true
		r.stdout.paragraph(r.stdout.cross(), err.Error())
	}
	for program, why := range map[string]string{"go": "labs are compiled", "git": "make build asks it for the version", "bash": "the commands of the labs are for it"} {
		path, err := exec.LookPath(program)
		if err != nil {
			err = fmt.Errorf("there is no program %s in the PATH: install it (%s)", program, why)
		}
		say(err, "%s is %s", program, path)
	}
	for _, program := range []string{"kube-apiserver", "etcd", "kubectl", "portrule-apiserver", "portrule-controller"} {
		path, err := cluster.Binary(program)
		say(err, "%s is %s", program, r.relative(path))
	}
	all, err := r.all()
	if err != nil {
		return err
	}
	for _, l := range all {
		for _, program := range l.Needs {
			path, err := exec.LookPath(program)
			if err != nil {
				err = fmt.Errorf("lab %d needs the program %s, which is not in the PATH: install it", l.Number, program)
			}
			say(err, "%s is %s (lab %d)", program, path, l.Number)
		}
	}
	say(writable(r.state()), "%s can be written to", r.relative(r.state()))
	found, err := r.cluster()
	switch {
	case err != nil:
		say(err, "")
	case found == nil:
		say(nil, "the control plane does not run: \"lab start\" starts it")
	default:
		s := lab.NewSession(&lab.Lab{}, r.root, "", "", found)
		config, err := s.Admin()
		if err == nil {
			var reply *lab.Reply
			if reply, err = lab.Send(ctx, config, "GET", "/readyz", "", ""); err == nil && reply.Status != 200 {
				err = fmt.Errorf("the control plane is not ready: %s", reply.Body)
			} else if err != nil {
				err = fmt.Errorf("the control plane does not answer: %w; run \"lab down\" and start a lab", err)
			}
		}
		say(err, "the control plane is ready; its logs are in %s", r.relative(found.Dir))
	}
	if workshop {
		r.preflight(ctx, say)
	}
	if err := r.noteKubeconfig(); err != nil {
		return err
	}
	if sick {
		return ErrNotYet
	}
	return nil
}

// writable says whether files can be made in a directory.
func writable(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	file, err := os.CreateTemp(dir, "doctor-")
	if err != nil {
		return err
	}
	return os.Remove(file.Name())
}
