package main

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/kvproto/pkg/pdpb"
	pd "github.com/tikv/pd/client"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type pdServer struct {
	pdpb.UnimplementedPDServer
	c     *cluster
	index int32
}

func header() *pdpb.ResponseHeader { return &pdpb.ResponseHeader{ClusterId: clusterID} }

// enter is the begin of every call that only the leader answers.
func (s *pdServer) enter(ctx context.Context, method string, h *pdpb.RequestHeader) error {
	if err := s.c.faults.status(ctx, method); err != nil {
		return err
	}
	if s.c.leader.Load() != s.index {
		return status.Error(codes.Unavailable, "not leader")
	}
	if h.GetClusterId() != clusterID {
		return status.Errorf(codes.FailedPrecondition, "mismatch cluster id, need %d but got %d", clusterID, h.GetClusterId())
	}
	return nil
}

func (s *pdServer) GetMembers(ctx context.Context, q *pdpb.GetMembersRequest) (*pdpb.GetMembersResponse, error) {
	if err := s.c.faults.status(ctx, "GetMembers"); err != nil {
		return nil, err
	}
	scheme := "http://"
	if s.c.secure {
		scheme = "https://"
	}
	r := &pdpb.GetMembersResponse{Header: header()}
	for i, addr := range s.c.pdAddrs {
		m := &pdpb.Member{
			Name:       "pd" + string(rune('0'+i)),
			MemberId:   uint64(i + 1),
			PeerUrls:   []string{scheme + addr},
			ClientUrls: []string{scheme + addr},
		}
		r.Members = append(r.Members, m)
	}
	leader := r.Members[s.c.leader.Load()]
	r.Leader, r.EtcdLeader = leader, leader
	return r, nil
}

func (s *pdServer) Tso(stream pdpb.PD_TsoServer) error {
	for {
		q, err := stream.Recv()
		if err != nil {
			return err
		}
		time.Sleep(s.c.delay)
		if err := s.enter(stream.Context(), "Tso", q.Header); err != nil {
			return err
		}
		r := &pdpb.TsoResponse{Header: header(), Count: q.Count}
		// the numbers of one answer follow each other: the logical part that is told is that of the last one
		var physical, logical int64
		for got := uint32(0); got < q.Count; got++ {
			p, l, _ := s.c.pd.GetTS(context.Background())
			if got > 0 && (p != physical || l != logical+1) {
				got = 0
			}
			physical, logical = p, l
		}
		r.Timestamp = &pdpb.Timestamp{Physical: physical, Logical: logical}
		if err := stream.Send(r); err != nil {
			return err
		}
	}
}

func (s *pdServer) GetRegion(ctx context.Context, q *pdpb.GetRegionRequest) (*pdpb.GetRegionResponse, error) {
	if err := s.enter(ctx, "GetRegion", q.Header); err != nil {
		return nil, err
	}
	return regionResponse(s.c.pd.GetRegion(ctx, q.RegionKey))
}

func (s *pdServer) GetPrevRegion(ctx context.Context, q *pdpb.GetRegionRequest) (*pdpb.GetRegionResponse, error) {
	if err := s.enter(ctx, "GetPrevRegion", q.Header); err != nil {
		return nil, err
	}
	return regionResponse(s.c.pd.GetPrevRegion(ctx, q.RegionKey))
}

func (s *pdServer) GetRegionByID(ctx context.Context, q *pdpb.GetRegionByIDRequest) (*pdpb.GetRegionResponse, error) {
	if err := s.enter(ctx, "GetRegionByID", q.Header); err != nil {
		return nil, err
	}
	return regionResponse(s.c.pd.GetRegionByID(ctx, q.RegionId))
}

func regionResponse(r *pd.Region, err error) (*pdpb.GetRegionResponse, error) {
	if err != nil || r == nil {
		return &pdpb.GetRegionResponse{Header: header()}, err
	}
	return &pdpb.GetRegionResponse{Header: header(), Region: r.Meta, Leader: r.Leader}, nil
}

func (s *pdServer) ScanRegions(ctx context.Context, q *pdpb.ScanRegionsRequest) (*pdpb.ScanRegionsResponse, error) {
	if err := s.enter(ctx, "ScanRegions", q.Header); err != nil {
		return nil, err
	}
	found, err := s.c.pd.ScanRegions(ctx, q.StartKey, q.EndKey, int(q.Limit))
	if err != nil {
		return nil, err
	}
	r := &pdpb.ScanRegionsResponse{Header: header()}
	for _, region := range found {
		r.RegionMetas = append(r.RegionMetas, region.Meta)
		r.Leaders = append(r.Leaders, region.Leader)
		r.Regions = append(r.Regions, &pdpb.Region{Region: region.Meta, Leader: region.Leader})
	}
	return r, nil
}

func (s *pdServer) GetStore(ctx context.Context, q *pdpb.GetStoreRequest) (*pdpb.GetStoreResponse, error) {
	if err := s.enter(ctx, "GetStore", q.Header); err != nil {
		return nil, err
	}
	store, err := s.c.pd.GetStore(ctx, q.StoreId)
	return &pdpb.GetStoreResponse{Header: header(), Store: store}, err
}

func (s *pdServer) GetAllStores(ctx context.Context, q *pdpb.GetAllStoresRequest) (*pdpb.GetAllStoresResponse, error) {
	if err := s.enter(ctx, "GetAllStores", q.Header); err != nil {
		return nil, err
	}
	stores, err := s.c.pd.GetAllStores(ctx)
	return &pdpb.GetAllStoresResponse{Header: header(), Stores: stores}, err
}

func (s *pdServer) GetClusterConfig(ctx context.Context, q *pdpb.GetClusterConfigRequest) (*pdpb.GetClusterConfigResponse, error) {
	return &pdpb.GetClusterConfigResponse{Header: header(), Cluster: &metapb.Cluster{Id: clusterID, MaxPeerCount: 1}}, nil
}

func (s *pdServer) GetGCSafePoint(ctx context.Context, q *pdpb.GetGCSafePointRequest) (*pdpb.GetGCSafePointResponse, error) {
	if err := s.enter(ctx, "GetGCSafePoint", q.Header); err != nil {
		return nil, err
	}
	return &pdpb.GetGCSafePointResponse{Header: header(), SafePoint: s.c.safe.gc()}, nil
}

func (s *pdServer) UpdateGCSafePoint(ctx context.Context, q *pdpb.UpdateGCSafePointRequest) (*pdpb.UpdateGCSafePointResponse, error) {
	if err := s.enter(ctx, "UpdateGCSafePoint", q.Header); err != nil {
		return nil, err
	}
	return &pdpb.UpdateGCSafePointResponse{Header: header(), NewSafePoint: s.c.safe.raise(q.SafePoint)}, nil
}

func (s *pdServer) UpdateServiceGCSafePoint(ctx context.Context, q *pdpb.UpdateServiceGCSafePointRequest) (*pdpb.UpdateServiceGCSafePointResponse, error) {
	if err := s.enter(ctx, "UpdateServiceGCSafePoint", q.Header); err != nil {
		return nil, err
	}
	id, ttl, min := s.c.safe.update(string(q.ServiceId), q.TTL, q.SafePoint)
	return &pdpb.UpdateServiceGCSafePointResponse{Header: header(), ServiceId: []byte(id), TTL: ttl, MinSafePoint: min}, nil
}

// safePoints keeps them by the rules of the placement driver: a service cannot go below the lowest one, and what a client sets as the
// safe point of garbage collection does not look at services.
type safePoints struct {
	mu       sync.Mutex
	point    uint64
	services map[string]servicePoint
}

type servicePoint struct {
	Point   uint64
	Expires time.Time
}

func newSafePoints() *safePoints {
	forever := time.Now().Add(1000 * time.Hour)
	return &safePoints{services: map[string]servicePoint{"gc_worker": {0, forever}}}
}

func (s *safePoints) gc() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.point
}

func (s *safePoints) raise(point uint64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if point > s.point {
		s.point = point
	}
	return s.point
}

func (s *safePoints) setWorker(point uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.services["gc_worker"] = servicePoint{point, time.Now().Add(1000 * time.Hour)}
}

func (s *safePoints) update(id string, ttl int64, point uint64) (string, int64, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ttl <= 0 {
		delete(s.services, id)
	} else if _, min := s.lowest(); point >= min.Point {
		s.services[id] = servicePoint{point, time.Now().Add(time.Duration(ttl) * time.Second)}
	}
	lowest, min := s.lowest()
	return lowest, int64(time.Until(min.Expires) / time.Second), min.Point
}

func (s *safePoints) lowest() (string, servicePoint) {
	id, min := "", servicePoint{Point: math.MaxUint64}
	for name, p := range s.services {
		if time.Now().After(p.Expires) {
			delete(s.services, name)
		} else if p.Point < min.Point {
			id, min = name, p
		}
	}
	return id, min
}

// etcdServer answers as the one inside the placement driver does where no safe point was saved.
type etcdServer struct {
	etcdserverpb.UnimplementedKVServer
}

func (s *etcdServer) Range(ctx context.Context, q *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	return &etcdserverpb.RangeResponse{Header: &etcdserverpb.ResponseHeader{Revision: 1}}, nil
}
