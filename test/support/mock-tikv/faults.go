package main

import (
	"context"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// fault is what happens to the next calls of a method.
type fault struct {
	Method string `json:"method"`
	// A region error (store.go), or `unavailable`, `stall` (no answer, nothing done), `lost_answer` (done, then unavailable),
	// `stalled_answer` (done, then no answer), or a region error with `_answer` behind it (done, then that).
	Kind string `json:"kind"`
	// Calls that pass before, and calls that it happens to.
	Skip  int `json:"skip"`
	Times int `json:"times"`
}

func (f *fault) runsBefore() bool { return !strings.HasSuffix(f.Kind, "_answer") }

func (f *fault) fail(ctx context.Context) error {
	if f.Kind == "stall" || f.Kind == "stalled_answer" {
		<-ctx.Done()
		return ctx.Err()
	}
	return status.Error(codes.Unavailable, "injected: "+f.Kind)
}

type faultTable struct {
	mu          sync.Mutex
	faults      []*fault
	calls       map[string]int
	inFlight    int
	maxInFlight int
}

func newFaultTable() *faultTable { return &faultTable{calls: map[string]int{}} }

func (t *faultTable) add(f *fault) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults = append(t.faults, f)
}

func (t *faultTable) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults, t.calls, t.maxInFlight = nil, map[string]int{}, 0
}

func (t *faultTable) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.inFlight++; t.inFlight > t.maxInFlight {
		t.maxInFlight = t.inFlight
	}
}

func (t *faultTable) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inFlight--
}

// take counts a call and gives what happens to it.
func (t *faultTable) take(method string) *fault {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls[method]++
	for _, f := range t.faults {
		if f.Method != method || f.Times == 0 {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		f.Times--
		return f
	}
	return nil
}

// status is `take` for calls that have no region.
func (t *faultTable) status(ctx context.Context, method string) error {
	if f := t.take(method); f != nil {
		return f.fail(ctx)
	}
	return nil
}
