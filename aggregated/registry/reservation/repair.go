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
	// repairInterval is how often Run repairs, each replica for itself: to repair
	// twice does no harm.
	repairInterval = 5 * time.Minute
	// retryInterval is how soon it tries again if it could not.
	retryInterval = time.Second
)

// Start repairs once, after which rules can be created, and goes on repairing in
// the background until ctx ends. It returns when the first repair is done or ctx
// has ended.
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
	err := wait.PollUntilContextCancel(ctx, retryInterval, true, func(ctx context.Context) (bool, error) {
		return repair(ctx) == nil, nil
	})
	if err != nil {
		return
	}
	close(s.complete)
	go wait.JitterUntilWithContext(ctx, func(ctx context.Context) { _ = repair(ctx) }, repairInterval, 0.1, true)
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
	if err := s.GetList(ctx, rulesPrefix, everything, rules); err != nil {
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
		switch duplicate, err := s.adopt(ctx, rule); {
		case err != nil:
			errs = append(errs, err)
		case duplicate:
			repaired.Duplicates++
		default:
			repaired.Reserved++
		}
	}
	for i := range reservations.Items {
		held := &reservations.Items[i]
		if stored[held.UID] || s.now().Sub(held.CreationTimestamp.Time) < TakeoverAge {
			continue
		}
		err := s.remove(ctx, key(held.Namespace, held.Annotations[endpointAnnotation]),
			&storage.Preconditions{UID: &held.UID, ResourceVersion: &held.ResourceVersion})
		if err != nil {
			errs = append(errs, fmt.Errorf("remove the reservation of %s: %w", held.Annotations[endpointAnnotation], err))
			continue
		}
		repaired.Removed++
	}
	return repaired, errors.Join(errs...)
}

// adopt reserves for a rule that is there, unless another rule has its endpoint.
func (s *Storage) adopt(ctx context.Context, rule *v2.PortRule) (duplicate bool, err error) {
	err = s.reserve(ctx, rulesPrefix+rule.Namespace+"/"+rule.Name, rule)
	switch held := (*HeldError)(nil); {
	case err == nil, storage.IsExist(err): // it has one by now
		return false, nil
	case errors.As(err, &held) && !held.Pending:
		klog.FromContext(ctx).Error(err, "two rules share an endpoint: delete one of them", "endpoint", held.Endpoint.String(), "rule", klog.KObj(rule))
		return true, nil
	}
	return false, fmt.Errorf("reserve %s for %s: %w", rule.Spec.Endpoint, klog.KObj(rule), err)
}
