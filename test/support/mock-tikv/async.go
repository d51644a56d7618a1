package main

import (
	"bytes"
	"context"
	"sync"

	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/tikv/client-go/v2/tikvrpc"
)

// asyncLocks adds to the mock store what it does not have: locks of transactions with asynchronous commit, which the state of all
// their locks decides. Off, a transaction that asks for it gets normal locks, as servers do that cannot.
type asyncLocks struct {
	enabled bool
	mu      sync.Mutex
	txns    map[uint64]*asyncTxn
}

type asyncTxn struct {
	primary     []byte
	secondaries [][]byte
	ttl         uint64
	minCommit   map[string]uint64
}

func newAsyncLocks(enabled bool) *asyncLocks {
	return &asyncLocks{enabled: enabled, txns: map[uint64]*asyncTxn{}}
}

func (a *asyncLocks) handle(ctx context.Context, s *storeServer, c command, request any) (any, bool) {
	if !a.enabled {
		return nil, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch q := request.(type) {
	case *kvrpcpb.PrewriteRequest:
		if q.UseAsyncCommit {
			a.remember(q)
		}
	case *kvrpcpb.CheckTxnStatusRequest:
		txn := a.txns[q.LockTs]
		if txn == nil {
			return nil, false
		}
		if q.ForceSyncCommit {
			delete(a.txns, q.LockTs)
			return nil, false
		}
		if lock := s.lockOf(ctx, q.Context, txn.primary); lock != nil && lock.StartTs == q.LockTs {
			info := txn.info(q.LockTs, txn.primary)
			return &kvrpcpb.CheckTxnStatusResponse{LockTtl: txn.ttl, LockInfo: info}, true
		}
	case *kvrpcpb.CheckSecondaryLocksRequest:
		return a.checkSecondaries(ctx, s, q), true
	}
	return nil, false
}

func (a *asyncLocks) remember(q *kvrpcpb.PrewriteRequest) {
	txn := a.txns[q.StartVersion]
	if txn == nil {
		txn = &asyncTxn{primary: q.PrimaryLock, minCommit: map[string]uint64{}}
		a.txns[q.StartVersion] = txn
	}
	txn.ttl = q.LockTtl
	for _, m := range q.Mutations {
		txn.minCommit[string(m.Key)] = q.MinCommitTs
		if bytes.Equal(m.Key, q.PrimaryLock) {
			txn.secondaries = q.Secondaries
		}
	}
}

func (t *asyncTxn) info(startTS uint64, key []byte) *kvrpcpb.LockInfo {
	return &kvrpcpb.LockInfo{
		PrimaryLock:    t.primary,
		LockVersion:    startTS,
		Key:            key,
		LockTtl:        t.ttl,
		UseAsyncCommit: true,
		MinCommitTs:    t.minCommit[string(key)],
		Secondaries:    t.secondaries,
	}
}

func (a *asyncLocks) checkSecondaries(ctx context.Context, s *storeServer, q *kvrpcpb.CheckSecondaryLocksRequest) *kvrpcpb.CheckSecondaryLocksResponse {
	r := &kvrpcpb.CheckSecondaryLocksResponse{}
	txn := a.txns[q.StartVersion]
	for _, key := range q.Keys {
		info := s.historyOf(ctx, q.Context, key)
		if info.GetLock().GetStartTs() == q.StartVersion {
			lock := &kvrpcpb.LockInfo{Key: key, LockVersion: q.StartVersion}
			if txn != nil {
				lock = txn.info(q.StartVersion, key)
			}
			r.Locks = append(r.Locks, lock)
			continue
		}
		commit := uint64(0)
		isKnown := false
		for _, w := range info.GetWrites() {
			if w.StartTs == q.StartVersion {
				isKnown = true
				if w.Type != kvrpcpb.Op_Rollback {
					commit = w.CommitTs
				}
			}
		}
		if !isKnown {
			rollback := &kvrpcpb.BatchRollbackRequest{Context: q.Context, StartVersion: q.StartVersion, Keys: [][]byte{key}}
			_, _ = s.forward(ctx, tikvrpc.CmdBatchRollback, rollback)
		}
		return &kvrpcpb.CheckSecondaryLocksResponse{CommitTs: commit}
	}
	return r
}

func (s *storeServer) historyOf(ctx context.Context, c *kvrpcpb.Context, key []byte) *kvrpcpb.MvccInfo {
	r, err := s.forward(ctx, tikvrpc.CmdMvccGetByKey, &kvrpcpb.MvccGetByKeyRequest{Context: c, Key: key})
	if err != nil {
		return nil
	}
	return r.(*kvrpcpb.MvccGetByKeyResponse).GetInfo()
}

func (s *storeServer) lockOf(ctx context.Context, c *kvrpcpb.Context, key []byte) *kvrpcpb.MvccLock {
	return s.historyOf(ctx, c, key).GetLock()
}

// decorate marks the locks that an answer tells of.
func (a *asyncLocks) decorate(response any) {
	if !a.enabled {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch r := response.(type) {
	case *kvrpcpb.GetResponse:
		a.mark(r.Error)
	case *kvrpcpb.ScanResponse:
		for _, p := range r.Pairs {
			a.mark(p.Error)
		}
	case *kvrpcpb.BatchGetResponse:
		for _, p := range r.Pairs {
			a.mark(p.Error)
		}
	case *kvrpcpb.PrewriteResponse:
		for _, e := range r.Errors {
			a.mark(e)
		}
	}
}

func (a *asyncLocks) mark(e *kvrpcpb.KeyError) {
	lock := e.GetLocked()
	if txn := a.txns[lock.GetLockVersion()]; lock != nil && txn != nil {
		e.Locked = txn.info(lock.LockVersion, lock.Key)
	}
}
