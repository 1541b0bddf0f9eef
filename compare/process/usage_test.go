package process

import (
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestUsageOf(t *testing.T) {
	before, err := UsageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if before.CPU < 0 || before.Memory == 0 {
		t.Errorf("this process has used %+v", before)
	}
	// it works until that shows
	sum := 0.0
	for deadline := time.Now().Add(time.Minute); ; {
		for i := range 1_000_000 {
			sum += math.Sqrt(float64(i))
		}
		after, err := UsageOf(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if after.CPU < before.CPU {
			t.Fatalf("the CPU time was %s and is %s", before.CPU, after.CPU)
		}
		if after.CPU > before.CPU {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the CPU time is still %s after a minute of work (%g)", after.CPU, sum)
		}
	}
}

func TestUsageOfNothing(t *testing.T) {
	for _, pid := range []int{-1, math.MaxInt32} {
		if used, err := UsageOf(pid); err == nil {
			t.Errorf("process %d has used %+v", pid, used)
		}
	}
}

// The process ids are those of the programs, by the names that they were started under.
func TestPIDs(t *testing.T) {
	group, err := NewGroup(filepath.Join(t.TempDir(), "group"))
	if err != nil {
		t.Fatal(err)
	}
	programs := map[string]*Process{}
	defer func() {
		for _, program := range programs {
			if err := program.Stop(); err != nil {
				t.Error(err)
			}
		}
		if err := group.Close(); err != nil {
			t.Error(err)
		}
	}()
	if pids, err := group.PIDs(); err != nil || len(pids) > 0 {
		t.Errorf("before anything is started: got %v (%v)", pids, err)
	}
	for _, name := range []string{"etcd", "portrule-apiserver-name-free"} {
		program, err := group.Start(name, "/bin/sleep", "1000")
		if err != nil {
			t.Fatal(err)
		}
		programs[name] = program
		waitFor(t, name+" has noted its process id", func() bool { _, err := group.PID(name); return err == nil })
	}
	pids, err := group.PIDs()
	if err != nil || len(pids) != len(programs) {
		t.Fatalf("got %v (%v), want those of %d programs", pids, err, len(programs))
	}
	for name := range programs {
		want, err := group.PID(name)
		if err != nil || pids[name] != want {
			t.Errorf("%s is process %d, want %d (%v)", name, pids[name], want, err)
		}
		if used, err := UsageOf(pids[name]); err != nil || used.Memory == 0 {
			t.Errorf("%s has used %+v (%v)", name, used, err)
		}
	}
	// one that has ended is still named, and has no usage
	if err := programs["etcd"].Stop(); err != nil {
		t.Fatal(err)
	}
	if pids, err = group.PIDs(); err != nil || pids["etcd"] == 0 {
		t.Errorf("after etcd has ended: got %v (%v)", pids, err)
	}
	if used, err := UsageOf(pids["etcd"]); err == nil {
		t.Errorf("etcd has ended and has used %+v", used)
	}
}
