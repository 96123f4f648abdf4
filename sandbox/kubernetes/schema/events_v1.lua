--- Types of the events/v1 API: see sandbox/kubernetes/schema/init.lua for the notation.
return [[
Event: 1 metadata meta.ObjectMeta; 2 eventTime microtime !; 3 series EventSeries; 4 reportingController string;
  5 reportingInstance string; 6 action string; 7 reason string; 8 regarding core/v1.ObjectReference;
  9 related core/v1.ObjectReference; 10 note string; 11 type string; 12 deprecatedSource core/v1.EventSource;
  13 deprecatedFirstTimestamp time; 14 deprecatedLastTimestamp time; 15 deprecatedCount int zero
EventSeries: 1 count int !; 2 lastObservedTime microtime !
]]
