package main

import (
	"context"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/pingcap/kvproto/pkg/errorpb"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/tikvpb"
	"github.com/tikv/client-go/v2/tikvrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type storeServer struct {
	c    *cluster
	addr string
}

// command is one call of the service tikvpb.Tikv.
type command struct {
	name     string
	kind     tikvrpc.CmdType
	request  reflect.Type
	response reflect.Type
	batch    func(response any) *tikvpb.BatchCommandsResponse_Response
}

func call[Q, R any](name string, kind tikvrpc.CmdType, batch func(*R) *tikvpb.BatchCommandsResponse_Response) command {
	return command{
		name:     name,
		kind:     kind,
		request:  reflect.TypeFor[Q](),
		response: reflect.TypeFor[R](),
		batch:    func(response any) *tikvpb.BatchCommandsResponse_Response { return batch(response.(*R)) },
	}
}

type batchResponse = tikvpb.BatchCommandsResponse_Response

var commands = []command{
	call[kvrpcpb.GetRequest]("KvGet", tikvrpc.CmdGet, func(r *kvrpcpb.GetResponse) *batchResponse {
		return &batchResponse{Cmd: &tikvpb.BatchCommandsResponse_Response_Get{Get: r}}
	}),
	call[kvrpcpb.ScanRequest]("KvScan", tikvrpc.CmdScan, func(r *kvrpcpb.ScanResponse) *batchResponse {
		return &batchResponse{Cmd: &tikvpb.BatchCommandsResponse_Response_Scan{Scan: r}}
	}),
	call[kvrpcpb.BatchGetRequest]("KvBatchGet", tikvrpc.CmdBatchGet, func(r *kvrpcpb.BatchGetResponse) *batchResponse {
		return &batchResponse{Cmd: &tikvpb.BatchCommandsResponse_Response_BatchGet{BatchGet: r}}
	}),
	call[kvrpcpb.PrewriteRequest]("KvPrewrite", tikvrpc.CmdPrewrite, func(r *kvrpcpb.PrewriteResponse) *batchResponse {
		return &batchResponse{Cmd: &tikvpb.BatchCommandsResponse_Response_Prewrite{Prewrite: r}}
	}),
	call[kvrpcpb.CommitRequest]("KvCommit", tikvrpc.CmdCommit, func(r *kvrpcpb.CommitResponse) *batchResponse {
		return &batchResponse{Cmd: &tikvpb.BatchCommandsResponse_Response_Commit{Commit: r}}
	}),
	call[kvrpcpb.BatchRollbackRequest]("KvBatchRollback", tikvrpc.CmdBatchRollback, func(r *kvrpcpb.BatchRollbackResponse) *batchResponse {
		return &batchResponse{Cmd: &tikvpb.BatchCommandsResponse_Response_BatchRollback{BatchRollback: r}}
	}),
	call[kvrpcpb.CheckTxnStatusRequest]("KvCheckTxnStatus", tikvrpc.CmdCheckTxnStatus, func(r *kvrpcpb.CheckTxnStatusResponse) *batchResponse {
		return &batchResponse{Cmd: &tikvpb.BatchCommandsResponse_Response_CheckTxnStatus{CheckTxnStatus: r}}
	}),
	call[kvrpcpb.CheckSecondaryLocksRequest]("KvCheckSecondaryLocks", tikvrpc.CmdCheckSecondaryLocks, func(r *kvrpcpb.CheckSecondaryLocksResponse) *batchResponse {
		return &batchResponse{Cmd: &tikvpb.BatchCommandsResponse_Response_CheckSecondaryLocks{CheckSecondaryLocks: r}}
	}),
	call[kvrpcpb.ResolveLockRequest]("KvResolveLock", tikvrpc.CmdResolveLock, func(r *kvrpcpb.ResolveLockResponse) *batchResponse {
		return &batchResponse{Cmd: &tikvpb.BatchCommandsResponse_Response_ResolveLock{ResolveLock: r}}
	}),
	call[kvrpcpb.TxnHeartBeatRequest]("KvTxnHeartBeat", tikvrpc.CmdTxnHeartBeat, func(r *kvrpcpb.TxnHeartBeatResponse) *batchResponse {
		return &batchResponse{Cmd: &tikvpb.BatchCommandsResponse_Response_TxnHeartBeat{TxnHeartBeat: r}}
	}),
	call[kvrpcpb.DeleteRangeRequest]("KvDeleteRange", tikvrpc.CmdDeleteRange, func(r *kvrpcpb.DeleteRangeResponse) *batchResponse {
		return &batchResponse{Cmd: &tikvpb.BatchCommandsResponse_Response_DeleteRange{DeleteRange: r}}
	}),
	call[kvrpcpb.ScanLockRequest]("KvScanLock", tikvrpc.CmdScanLock, func(r *kvrpcpb.ScanLockResponse) *batchResponse {
		return &batchResponse{Cmd: &tikvpb.BatchCommandsResponse_Response_ScanLock{ScanLock: r}}
	}),
}

func (s *storeServer) description() *grpc.ServiceDesc {
	d := &grpc.ServiceDesc{ServiceName: "tikvpb.Tikv", HandlerType: (*any)(nil)}
	for _, c := range commands {
		handler := func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			request := reflect.New(c.request).Interface()
			if err := decode(request); err != nil {
				return nil, err
			}
			return s.run(ctx, c, request)
		}
		d.Methods = append(d.Methods, grpc.MethodDesc{MethodName: c.name, Handler: handler})
	}
	batch := func(_ any, stream grpc.ServerStream) error { return s.batchCommands(stream) }
	d.Streams = append(d.Streams, grpc.StreamDesc{
		StreamName: "BatchCommands", Handler: batch, ServerStreams: true, ClientStreams: true,
	})
	return d
}

func (s *storeServer) run(ctx context.Context, c command, request any) (response any, err error) {
	defer func() {
		if problem := recover(); problem != nil { // the mock panics where a server answers
			response, err = nil, status.Errorf(codes.Internal, "%s: %v", c.name, problem)
		}
	}()
	s.c.faults.begin()
	defer s.c.faults.end()
	time.Sleep(s.c.delay)
	fault := s.c.faults.take(c.name)
	if fault != nil && fault.runsBefore() {
		return s.refuse(ctx, c, request, fault)
	}
	response, err = s.send(ctx, c, request)
	if fault != nil && err == nil {
		return s.refuse(ctx, c, request, fault)
	}
	return response, err
}

func (s *storeServer) refuse(ctx context.Context, c command, request any, fault *fault) (any, error) {
	kind := strings.TrimSuffix(fault.Kind, "_answer")
	if regionError := s.regionError(kind, contextOf(request)); regionError != nil {
		r := reflect.New(c.response)
		r.Elem().FieldByName("RegionError").Set(reflect.ValueOf(regionError))
		return r.Interface(), nil
	}
	return nil, fault.fail(ctx)
}

func (s *storeServer) send(ctx context.Context, c command, request any) (any, error) {
	if answer, isDone := s.c.async.handle(ctx, s, c, request); isDone {
		return answer, nil
	}
	if q, ok := request.(*kvrpcpb.ResolveLockRequest); ok && len(q.Keys) > 0 {
		return s.resolveKeys(ctx, q)
	}
	response, err := s.forward(ctx, c.kind, request)
	if err == nil {
		s.c.async.decorate(response)
	}
	return response, err
}

// resolveKeys settles the locks of these keys only, as stores do. The mock store looks through the whole region instead, and answers
// nothing else meanwhile: a minute where there are millions of keys.
func (s *storeServer) resolveKeys(ctx context.Context, q *kvrpcpb.ResolveLockRequest) (any, error) {
	if q.CommitVersion == 0 {
		rollback := &kvrpcpb.BatchRollbackRequest{Context: q.Context, StartVersion: q.StartVersion, Keys: q.Keys}
		r, err := s.forward(ctx, tikvrpc.CmdBatchRollback, rollback)
		if err != nil {
			return nil, err
		}
		answer := r.(*kvrpcpb.BatchRollbackResponse)
		return &kvrpcpb.ResolveLockResponse{RegionError: answer.RegionError, Error: answer.Error}, nil
	}
	commit := &kvrpcpb.CommitRequest{
		Context: q.Context, StartVersion: q.StartVersion, CommitVersion: q.CommitVersion, Keys: q.Keys,
	}
	r, err := s.forward(ctx, tikvrpc.CmdCommit, commit)
	if err != nil {
		return nil, err
	}
	answer := r.(*kvrpcpb.CommitResponse)
	return &kvrpcpb.ResolveLockResponse{RegionError: answer.RegionError, Error: answer.Error}, nil
}

func (s *storeServer) forward(ctx context.Context, kind tikvrpc.CmdType, request any) (any, error) {
	r := tikvrpc.NewRequest(kind, request)
	if c := contextOf(request); c != nil {
		r.Context = *c
	}
	response, err := s.c.client.SendRequest(ctx, s.addr, r, 30*time.Second)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	return response.Resp, nil
}

func contextOf(request any) *kvrpcpb.Context {
	return request.(interface{ GetContext() *kvrpcpb.Context }).GetContext()
}

func (s *storeServer) regionError(kind string, c *kvrpcpb.Context) *errorpb.Error {
	region, leader := s.c.regions.GetRegion(c.GetRegionId())
	switch kind {
	case "not_leader":
		e := &errorpb.NotLeader{RegionId: c.GetRegionId()}
		for _, peer := range region.GetPeers() {
			if peer.Id == leader {
				e.Leader = peer
			}
		}
		return &errorpb.Error{Message: "not leader", NotLeader: e}
	case "no_leader":
		return &errorpb.Error{Message: "no leader", NotLeader: &errorpb.NotLeader{RegionId: c.GetRegionId()}}
	case "epoch_not_match":
		return &errorpb.Error{Message: "epoch not match", EpochNotMatch: &errorpb.EpochNotMatch{}}
	case "region_not_found":
		return &errorpb.Error{Message: "region not found", RegionNotFound: &errorpb.RegionNotFound{RegionId: c.GetRegionId()}}
	case "key_not_in_region":
		return &errorpb.Error{Message: "key not in region", KeyNotInRegion: &errorpb.KeyNotInRegion{}}
	case "store_not_match":
		return &errorpb.Error{Message: "store not match", StoreNotMatch: &errorpb.StoreNotMatch{}}
	case "server_is_busy":
		return &errorpb.Error{Message: "busy", ServerIsBusy: &errorpb.ServerIsBusy{Reason: "test", BackoffMs: 20}}
	case "stale_command":
		return &errorpb.Error{Message: "stale command", StaleCommand: &errorpb.StaleCommand{}}
	case "raft_entry_too_large":
		return &errorpb.Error{Message: "raft entry is too large", RaftEntryTooLarge: &errorpb.RaftEntryTooLarge{EntrySize: 9000000}}
	case "max_timestamp_not_synced":
		return &errorpb.Error{Message: "max ts", MaxTimestampNotSynced: &errorpb.MaxTimestampNotSynced{}}
	case "read_index_not_ready":
		return &errorpb.Error{Message: "read index", ReadIndexNotReady: &errorpb.ReadIndexNotReady{}}
	case "proposal_in_merging_mode":
		return &errorpb.Error{Message: "merging", ProposalInMergingMode: &errorpb.ProposalInMergingMode{}}
	case "region_not_initialized":
		return &errorpb.Error{Message: "not initialized", RegionNotInitialized: &errorpb.RegionNotInitialized{}}
	case "data_is_not_ready":
		return &errorpb.Error{Message: "data is not ready", DataIsNotReady: &errorpb.DataIsNotReady{}}
	case "recovery_in_progress":
		return &errorpb.Error{Message: "recovery", RecoveryInProgress: &errorpb.RecoveryInProgress{}}
	case "flashback_in_progress":
		return &errorpb.Error{Message: "flashback", FlashbackInProgress: &errorpb.FlashbackInProgress{}}
	case "is_witness":
		return &errorpb.Error{Message: "witness", IsWitness: &errorpb.IsWitness{}}
	case "mismatch_peer_id":
		return unknownRegionError("mismatch peer id", 20)
	case "bucket_version_not_match":
		return unknownRegionError("bucket version", 21)
	case "disk_full":
		return &errorpb.Error{Message: "disk full", DiskFull: &errorpb.DiskFull{Reason: "test"}}
	case "unknown_region_error":
		return &errorpb.Error{Message: "something new"}
	}
	return nil
}

// unknownRegionError has an empty message in a field that this version of the protocol does not have.
func unknownRegionError(message string, field byte) *errorpb.Error {
	tag := field<<3 | 2
	return &errorpb.Error{Message: message, XXX_unrecognized: []byte{tag | 0x80, tag >> 7, 0}}
}

func (s *storeServer) batchCommands(stream grpc.ServerStream) error {
	var mu sync.Mutex
	for {
		in := &tikvpb.BatchCommandsRequest{}
		if err := stream.RecvMsg(in); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		go func() {
			out := &tikvpb.BatchCommandsResponse{}
			for i, q := range in.Requests {
				if r := s.one(stream.Context(), q); r != nil {
					out.RequestIds = append(out.RequestIds, in.RequestIds[i])
					out.Responses = append(out.Responses, r)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			_ = stream.SendMsg(out)
		}()
	}
}

// one answers one part of a batch; nothing where the call failed: the client then runs into its time limit.
func (s *storeServer) one(ctx context.Context, q *tikvpb.BatchCommandsRequest_Request) *batchResponse {
	if empty, ok := q.Cmd.(*tikvpb.BatchCommandsRequest_Request_Empty); ok {
		r := &tikvpb.BatchCommandsEmptyResponse{TestId: empty.Empty.TestId}
		return &batchResponse{Cmd: &tikvpb.BatchCommandsResponse_Response_Empty{Empty: r}}
	}
	request := reflect.ValueOf(q.Cmd).Elem().Field(0)
	for _, c := range commands {
		if c.request == request.Type().Elem() {
			response, err := s.run(ctx, c, request.Interface())
			if err != nil {
				return nil
			}
			return c.batch(response)
		}
	}
	fmt.Printf("BatchCommands: %s is not known\n", request.Type())
	return nil
}
