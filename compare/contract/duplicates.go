package contract

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// CountDuplicates lets clients create rules of one endpoint at the same time, again and
// again, and counts the attempts in which more than one was admitted (R4). impl is the
// name in the result. done, unless it is nil, is told how many attempts are over.
func CountDuplicates(ctx context.Context, place Place, impl string, attempts, clients int, done func(attempts int)) (Duplicates, error) {
	result := Duplicates{Impl: impl, Clients: clients}
	client, err := rest.HTTPClientFor(place.Bed.Admin)
	if err != nil {
		return result, err
	}
	clientset, err := kubernetes.NewForConfig(place.Bed.Admin)
	if err != nil {
		return result, err
	}
	namespace := "parity-race-" + utilrand.String(6)
	if _, err := clientset.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		return result, fmt.Errorf("make a namespace: %w", err)
	}
	defer func() {
		_ = clientset.CoreV1().Namespaces().Delete(context.WithoutCancel(ctx), namespace, metav1.DeleteOptions{})
	}()
	for attempt := range attempts {
		if done != nil {
			done(attempt)
		}
		s := &Side{Impl: impl, Group: place.Group, Namespace: namespace, Bed: place.Bed, Clientset: clientset, ctx: ctx, client: client}
		admitted, err := s.race(attempt, clients)
		if err != nil {
			return result, fmt.Errorf("%s: %w", impl, err)
		}
		result.Attempts++
		if admitted > 1 {
			result.Admitted++
		}
	}
	result.Share, result.Low, result.High = proportion(result.Admitted, result.Attempts)
	return result, nil
}

// race lets clients create rules of one endpoint and returns how many were admitted.
func (s *Side) race(attempt, clients int) (int, error) {
	start := make(chan struct{})
	codes := make([]string, clients)
	var ready, over sync.WaitGroup
	for i := range clients {
		// a Side of its own: what it keeps is not for sharing
		one := *s
		body := one.Rule(fmt.Sprintf("race-%d-%d", attempt, i), fmt.Sprintf(`{endpoint: {host: race-%d.example.com, port: 80}}`, attempt))
		ready.Add(1)
		over.Go(func() {
			ready.Done()
			<-start
			codes[i] = one.Do(Request{Method: http.MethodPost, Path: one.Path("v2"), Body: body}).Outcome()
			if one.err != nil {
				codes[i] = one.err.Error()
			}
		})
	}
	ready.Wait()
	close(start)
	over.Wait()
	admitted := 0
	for _, code := range codes {
		switch {
		case code == "201":
			admitted++
		case strings.HasPrefix(code, "409") || strings.HasPrefix(code, "422"):
		default:
			return 0, fmt.Errorf("a create that competes is answered by %s", code)
		}
	}
	if admitted == 0 {
		return 0, fmt.Errorf("none of %d creates of one endpoint is admitted: %s", clients, codes[0])
	}
	return admitted, nil
}

// proportion is k of n, with the 95% interval that Wilson's score gives.
func proportion(k, n int) (share, low, high float64) {
	if n == 0 {
		return 0, 0, 1
	}
	const z = 1.959964
	p, size := float64(k)/float64(n), float64(n)
	centre := (p + z*z/(2*size)) / (1 + z*z/size)
	reach := z / (1 + z*z/size) * math.Sqrt(p*(1-p)/size+z*z/(4*size*size))
	return p, max(0, centre-reach), min(1, centre+reach)
}
