package reservation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/klog/v2"

	v2 "portrule.example/lab/api/v2"
)

const (
	// repairInterval is how often Start repairs, each replica for itself: to repair
	// twice does no harm.
	repairInterval = 5 * time.Minute
	// retryInterval is how soon it tries the first time again if it could not, and
	// startTimeout how long Start waits for that.
	retryInterval = time.Second
	startTimeout  = 10 * time.Second
)

// Start repairs once, after which rules can be created, and goes on repairing in
// the background until ctx ends. It returns when the first repair is done, and after
// 10 s at the latest: until it is done creations are refused, and all else goes on.
func (s *Storage) Start(ctx context.Context) {
	logger := klog.FromContext(ctx)
	repair := func(ctx context.Context) error {
		repaired, err := s.Repair(ctx)
		if err != nil && ctx.Err() == nil {
			logger.Error(err, "could not repair reservations")
		}
		if repaired != (Repaired{}) {
			logger.Info("repaired reservations", "reserved", repaired.Reserved, "removed", repaired.Removed, "duplicates", repaired.Duplicates)
		}
		return err
	}
	go func() {
		err := wait.PollUntilContextCancel(ctx, retryInterval, true, func(ctx context.Context) (bool, error) {
			return repair(ctx) == nil, nil
		})
		if err != nil {
			return // the server ends
		}
		close(s.complete)
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait.Jitter(repairInterval, 0.1)):
				_ = repair(ctx)
			}
		}
	}()
	select {
	case <-s.complete:
	case <-time.After(startTimeout):
		logger.Info("goes on without the reservations of the rules that are there: none can be created until they are complete")
	case <-ctx.Done():
	}
}

// Repaired says what a repair has found.
type Repaired struct {
	// Reserved is how many rules had no reservation and have one now: they were
	// restored from a backup, taken over from a CRD, or created while R4 was off.
	Reserved int
	// Removed is how many reservations were without their rule, and older than
	// [TakeoverAge].
	Removed int
	// Duplicates is how many rules have an endpoint that another rule holds. It is for
	// people to say which of them should go.
	Duplicates int
}

// Repair makes the reservations what the rules say. It does what it can, and
// returns an error for the rest, to be tried again: a rule without a reservation
// has to wait, like a creation, for one that may still become another's.
//
// It reads the reservations first and the rules after them, so that a rule of which
// it sees no reservation may have one by now, and a reservation of which it sees no
// rule may be gone: the writes, conditional on what was read, find that out.
func (s *Storage) Repair(ctx context.Context) (Repaired, error) {
	var repaired Repaired
	var errs []error
	reservations, rules := &metav1.PartialObjectMetadataList{}, &v2.PortRuleList{}
	everything := storage.ListOptions{Recursive: true, Predicate: storage.Everything}
	if err := s.reservations.GetList(ctx, prefix+"/", everything, reservations); err != nil {
		return repaired, fmt.Errorf("list the reservations: %w", err)
	}
	// What is young now may get its rule after it is looked for, however long the rest
	// takes.
	listed := s.now()
	if err := s.GetList(ctx, s.rulesPrefix, everything, rules); err != nil {
		return repaired, fmt.Errorf("list the rules: %w", err)
	}

	reserved := make(map[types.UID]bool, len(reservations.Items))
	for i := range reservations.Items {
		reserved[reservations.Items[i].UID] = true
	}
	// the oldest has the better claim
	slices.SortStableFunc(rules.Items, func(a, b v2.PortRule) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	stored := make(map[types.UID]bool, len(rules.Items))
	for i := range rules.Items {
		rule := &rules.Items[i]
		stored[rule.UID] = true
		if reserved[rule.UID] {
			continue
		}
		adopted, duplicate, err := s.adopt(ctx, rule)
		switch {
		case err != nil:
			errs = append(errs, err)
		case duplicate:
			repaired.Duplicates++
		case adopted:
			repaired.Reserved++
		}
	}
	for i := range reservations.Items {
		held := &reservations.Items[i]
		if stored[held.UID] || listed.Sub(held.CreationTimestamp.Time) < TakeoverAge {
			continue
		}
		removed, err := s.remove(ctx, key(held.Namespace, held.Annotations[endpointAnnotation]),
			&storage.Preconditions{UID: &held.UID, ResourceVersion: &held.ResourceVersion})
		if err != nil {
			errs = append(errs, fmt.Errorf("remove the reservation of %s: %w", held.Annotations[endpointAnnotation], err))
			continue
		}
		if removed {
			repaired.Removed++
		}
	}
	return repaired, errors.Join(errs...)
}

// adopt reserves for a rule that is there, unless another rule has its endpoint.
func (s *Storage) adopt(ctx context.Context, rule *v2.PortRule) (adopted, duplicate bool, err error) {
	key := s.rulesPrefix + rule.Namespace + "/" + rule.Name
	err = s.reserve(ctx, key, rule)
	switch held := (*HeldError)(nil); {
	case err == nil:
		// it may have been deleted since it was listed, and released nothing then
		current := &v2.PortRule{}
		if err := s.Get(ctx, key, storage.GetOptions{IgnoreNotFound: true}, current); err != nil {
			return true, false, fmt.Errorf("read %s again: %w", klog.KObj(rule), err)
		}
		if current.UID != rule.UID {
			s.release(ctx, rule)
			return false, false, nil
		}
		return true, false, nil
	case storage.IsExist(err): // it has one by now
		return false, false, nil
	case errors.As(err, &held) && !held.Pending:
		klog.FromContext(ctx).Error(err, "two rules share an endpoint: delete one of them", "endpoint", held.Endpoint.String(), "rule", klog.KObj(rule))
		return false, true, nil
	}
	return false, false, fmt.Errorf("reserve %s for %s: %w", rule.Spec.Endpoint, klog.KObj(rule), err)
}
