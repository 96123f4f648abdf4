--- Types of the batch/v1 API: see sandbox/kubernetes/schema/init.lua for the notation.
return [[
CronJob: 1 metadata meta.ObjectMeta; 2 spec CronJobSpec; 3 status CronJobStatus
CronJobSpec: 1 schedule string !; 8 timeZone string; 2 startingDeadlineSeconds int; 3 concurrencyPolicy string;
  4 suspend bool; 5 jobTemplate JobTemplateSpec !; 6 successfulJobsHistoryLimit int; 7 failedJobsHistoryLimit int
CronJobStatus: 1 active []core/v1.ObjectReference; 4 lastScheduleTime time; 5 lastSuccessfulTime time
Job: 1 metadata meta.ObjectMeta; 2 spec JobSpec; 3 status JobStatus
JobCondition: 1 type string !; 2 status string !; 3 lastProbeTime time; 4 lastTransitionTime time; 5 reason string;
  6 message string
JobSpec: 1 parallelism int; 2 completions int; 3 activeDeadlineSeconds int; 11 podFailurePolicy PodFailurePolicy;
  16 successPolicy SuccessPolicy; 7 backoffLimit int; 12 backoffLimitPerIndex int; 13 maxFailedIndexes int;
  4 selector meta.LabelSelector; 5 manualSelector bool; 6 template core/v1.PodTemplateSpec !;
  8 ttlSecondsAfterFinished int; 9 completionMode string; 10 suspend bool; 14 podReplacementPolicy string;
  15 managedBy string
JobStatus: 1 conditions []JobCondition merge=type; 2 startTime time; 3 completionTime time; 4 active int zero;
  5 succeeded int zero; 6 failed int zero; 11 terminating int; 7 completedIndexes string; 10 failedIndexes string;
  8 uncountedTerminatedPods UncountedTerminatedPods; 9 ready int
JobTemplateSpec: 1 metadata meta.ObjectMeta; 2 spec JobSpec
PodFailurePolicy: 1 rules []PodFailurePolicyRule !
PodFailurePolicyOnExitCodesRequirement: 1 containerName string; 2 operator string !; 3 values []int set !
PodFailurePolicyOnPodConditionsPattern: 1 type string !; 2 status string !
PodFailurePolicyRule: 1 action string !; 2 onExitCodes PodFailurePolicyOnExitCodesRequirement;
  3 onPodConditions []PodFailurePolicyOnPodConditionsPattern
SuccessPolicy: 1 rules []SuccessPolicyRule !
SuccessPolicyRule: 1 succeededIndexes string; 2 succeededCount int
UncountedTerminatedPods: 1 succeeded []string set; 2 failed []string set
]]
